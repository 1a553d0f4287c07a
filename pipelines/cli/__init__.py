"""The verbs of the command line: each module here, and in `cluster/verbs`, adds its own with `add(verbs)`."""
