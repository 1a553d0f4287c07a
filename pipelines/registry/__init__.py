"""Model versions: registered, reviewed, promoted or rejected."""
