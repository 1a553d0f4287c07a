"""Stored bytes to values and back: one file per kind of field."""
