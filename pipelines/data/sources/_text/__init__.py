"""What the sources of text share."""
