"""Rollouts: vLLM engines in Ray actors behind a sampler that streams each sample as it ends."""
