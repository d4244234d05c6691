"""Models: loading and building, the chunked logprob head, per-segment attention, the critic's head."""
