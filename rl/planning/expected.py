"""The machines that `rl check --on` names."""

from __future__ import annotations

import re

from rl.config import ConfigError

NODE = 8
"""GPUs of each node where only their number on all of them is named."""


def expect_overrides(text: str) -> list[str]:
    """Return the overrides of a recipe that expect such GPUs: `8x80` is 8 of 80 GB, and of more than 8 there are 8 on each
    node; `2x4x80` is 2 nodes of 4. Raises ConfigError."""
    match = re.fullmatch(r"(?:(\d+)[x×])?(\d+)[x×](\d+(?:\.\d+)?)", text.strip().lower())
    nodes, gpus, memory = (int(match[1] or 1), int(match[2]), float(match[3])) if match else (0, 0, 0.0)
    rest = 0
    if match and not match[1] and gpus > NODE:
        nodes, rest = divmod(gpus, NODE)
        gpus = NODE
    if rest or not (nodes and gpus and memory):
        raise ConfigError(
            f"--on {text}: expected GPUs x GB of each, such as 1x80, 8x80 or 64x80 (8 on each node), or 2x4x80: 2 nodes of 4"
        )
    values = {"nodes": nodes, "gpus_per_node": gpus, "gpu_memory_gb": f"{memory:g}"}
    return [f"cluster.expect.{key}={value}" for key, value in values.items()]
