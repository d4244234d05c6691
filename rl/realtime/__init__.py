"""A model that answers while it thinks, behind an address: `rl serve` and `rl talk`."""
