"""Parts of the series codec."""
