"""The pages of a benchmark."""
