"""Files that a run writes: metrics, rollouts, checkpoints, provenance, summary."""
