"""Gets verdicts from a language model: endpoints, prompts, rubrics, pairwise comparison, a cache."""
