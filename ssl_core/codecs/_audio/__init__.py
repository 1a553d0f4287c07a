"""What the codec of sound is made of."""
