"""Shape priors: silhouettes of whole objects from what is certain of them. One interface, learned or a bank."""
