"""The instance track: the image alone is given."""
