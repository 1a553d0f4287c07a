"""Verbs of the command line that are about clusters; see pipelines/cli."""
