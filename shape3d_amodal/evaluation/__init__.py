"""Scores of results files, without any model. Counts of pixels are integers, so shards merge to the identical table."""
