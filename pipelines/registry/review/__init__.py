"""The review of a version: facts, gates and the reviewer's actions."""
