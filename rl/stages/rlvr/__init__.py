"""Reinforcement learning with verifiable rewards: `loop.train` is the whole algorithm."""
