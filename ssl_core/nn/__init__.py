"""Building blocks of encoders and methods."""
