"""One training loop for all stages and baselines: see ``loop.train``."""
