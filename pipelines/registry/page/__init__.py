"""A review as a page, a card and tables."""
