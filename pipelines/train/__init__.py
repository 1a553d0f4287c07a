"""Pre-training: the stage, the loop, the worker, the audit."""
