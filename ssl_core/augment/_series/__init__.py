"""Parts of the time-series chains."""
