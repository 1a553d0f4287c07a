"""Trials of a campaign on Ray Tune."""
