"""Parts of the chains of sound."""
