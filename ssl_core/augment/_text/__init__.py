"""What chains of text share."""
