"""Parts of an evaluation that need more than frozen features of clean views, one file each; see base.py."""
