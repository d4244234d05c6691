"""From YAML to a checked list of stages. `load` is the door."""

from rl.recipe.loader import Recipe, load

__all__ = ["Recipe", "load"]
