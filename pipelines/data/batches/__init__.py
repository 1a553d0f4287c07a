"""The order of samples, and the views that training and evaluation read."""
