"""Files, foreign and ours: safe opening, archives, atomic writes, sealed weights, cached folders, worker processes."""
