"""Tuning campaigns: what to try next, when to stop, what came out. Only trials/ runs on Ray."""
