"""Reads recipes: YAML to a checked list of stages. Callers import `load` from here."""

from rl.recipe.loader import Recipe, load

__all__ = ["Recipe", "load"]
