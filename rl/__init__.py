"""Groundtone: RL post-training for language models that read and listen."""
