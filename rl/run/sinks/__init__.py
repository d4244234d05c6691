"""Sinks: where else a run's records go, beside its own directory."""
