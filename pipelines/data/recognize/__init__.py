"""What plain data are, from their names and the heads of a few files, and the recipe for them."""
