"""Raw files to shards, and shards to ordered, augmented batches."""
