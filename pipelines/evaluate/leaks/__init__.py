"""Test samples that pre-training has seen."""
