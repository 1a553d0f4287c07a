"""What is stored with a registered model, and how it is loaded."""
