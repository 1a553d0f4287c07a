"""What the codec of text consists of."""
