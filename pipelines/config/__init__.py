"""The run as one typed value."""
