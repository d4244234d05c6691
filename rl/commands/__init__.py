"""Commands of `rl` that stand apart from those of a run, and the arguments that commands share."""
