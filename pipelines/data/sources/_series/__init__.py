"""What the sources of time series share."""
