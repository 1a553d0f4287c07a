"""Samples in Parquet, listed in a manifest."""
