"""Methods x data x track: run what is missing, score everything, write one report."""
