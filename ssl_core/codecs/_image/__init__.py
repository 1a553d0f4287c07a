"""What the image codec is made of."""
