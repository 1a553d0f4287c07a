"""The review of a registered version: facts, gates, a report, and decisions that move the champion."""
