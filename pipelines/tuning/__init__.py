"""Tuning campaigns: what to try next, when to stop, what came out. Free of Ray; stages/tune.py runs the trials."""
