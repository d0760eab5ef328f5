"""Data: foreign files, annotation formats, mesh sources, scenes and crops."""
