"""The training loop: steps, checkpoints, ranks, logs."""
