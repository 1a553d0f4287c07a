"""The smallest run that is a real one."""

from typing import Any

TREE: dict[str, Any] = {
    "name": "tiny",
    "source": {"name": "digits"},
    "views": {"global": {"name": "image_crop_jitter", "size": 8}, "eval": {"name": "image_eval", "size": 8}},
    "encoder": {"name": "convnet", "width": 8, "depth": 2},
    "method": {"name": "simclr", "hidden_dim": 16, "projection_dim": 8, "temperature": 0.5},
    "optim": {"lr": 0.01},
    "train": {"steps": 12, "global_batch_size": 16, "log_every": 2, "monitor_samples": 0},
}

BRIEF: dict[str, Any] = {
    "probes": [{"name": "knn"}],
    "max_samples": 200,
    "resamples": 0,
    "view_samples": 0,
    "leaks": False,
    "map_samples": 20,
}
"""The section `evaluate` of a test that is about something else."""
