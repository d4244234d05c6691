"""Computes what `rl check` tells before anything starts: batches, tokens, memory, time, and what is missing."""
