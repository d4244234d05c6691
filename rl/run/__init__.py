"""What a run writes: metrics, rollouts, checkpoints, provenance."""
