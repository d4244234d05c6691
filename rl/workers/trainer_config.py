"""Settings that policy, critic and reference share as trainers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rl.config import ConfigError, Values
from rl.workers.deepspeed_settings import check_options


@dataclass
class TrainerConfig:
    """Options that policy, critic and reference share as trainers."""

    ranks: int = 1
    """Processes, each with its own device, over which a trainer is spread. `auto`: one for each GPU, or two on a CPU that has
    the cores. Without the key 1 on a CPU and `auto` on GPUs."""
    threads: int = 1
    """CPU threads of each rank."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed's ZeRO stage: what the ranks split between them. With `model.dtype: bfloat16` 0 means 1."""
    tokens_per_microbatch: int = 8192
    """Tokens that a rank takes through the model at once; it bounds memory, not the result."""
    sequence_parallel: int = 1
    """Ranks that share each micro-batch's tokens, for sequences too long for one; it divides `ranks` and the attention heads."""
    offload_activations: bool = False
    """Keep the layers' inputs in the host's memory until the backward pass; wants `model.gradient_checkpointing`."""
    offload_between_turns: bool = True
    """Keep master weights, optimizer states and gradients in the host's memory while a trainer waits for its turn, where
    engines share its GPU (`cluster.placement: colocated`). Without such a GPU it changes nothing."""
    deepspeed: Values = field(default_factory=Values)
    """Options merged into the config that DeepSpeed is given; the recipe's keys win."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for a count below 1 or an option of DeepSpeed that a recipe may not set."""
        for name in ("ranks", "threads", "tokens_per_microbatch", "sequence_parallel"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")
        check_options(self.deepspeed, f"{place}.deepspeed")
