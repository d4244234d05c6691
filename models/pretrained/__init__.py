"""Pretrained models that a package index carries: `rl pretrained` writes them as Hugging Face folders."""
