"""Files, foreign and ours: safe opening, archives, atomic writes, sealed weights, the cache, worker processes."""
