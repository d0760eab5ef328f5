"""Stage 5: the network that decides the hidden region, its losses and its regions."""
