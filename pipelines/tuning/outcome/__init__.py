"""What a campaign found."""
