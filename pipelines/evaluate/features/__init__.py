"""Features of the samples, computed once and kept."""
