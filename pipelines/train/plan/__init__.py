"""What a pre-training will need and take."""
