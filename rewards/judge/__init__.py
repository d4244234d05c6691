"""Asks a language model for a verdict: endpoints, prompts, rubrics, pairwise comparison, a cache."""
