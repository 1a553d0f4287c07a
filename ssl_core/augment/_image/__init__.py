"""What the image chains are made of."""
