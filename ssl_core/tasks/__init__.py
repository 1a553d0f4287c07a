"""What an encoder is held against or fine-tuned for, one file each; see base.py."""
