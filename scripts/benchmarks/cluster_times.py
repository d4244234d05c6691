"""Computes the phase times of an rlvr stage on a cluster, which `scripts/bench scale` simulates where nothing was
measured.

The rates are those of `rl.planning`; `assumptions` lists every assumption.

Legend: P parameters, R GPUs of the trainer, w GPUs of an engine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil

from simulation import EngineTimes, even_share, quantiles

from models.shape import BYTES, Shape
from rl.planning.duration import BANDWIDTH, FLOPS, IN_FLIGHT, STEP_S
from rl.planning.memory import DEFAULT_SHARE
from rl.planning.transfer import INFINIBAND, NVLINK, estimate
from rl.recipe import Recipe
from rl.stages.rlvr.config import Config
from rl.units import amount

STATES = 16
"""Bytes of a parameter that learns, over all its ranks: weights and gradients in bfloat16, and three float32 numbers of Adam."""
FULL = 0.8
"""Share of a GPU's memory that states may take; the rest is for activations and gathered layers."""
QUANTILES = 4000


@dataclass(frozen=True)
class Lengths:
    """Distribution of response lengths in tokens: lognormal, cut at `longest`."""

    mean: float
    spread: float
    longest: int
    prompt: int

    @cached_property
    def table(self) -> list[int]:
        """Even quantiles of the distribution."""
        return quantiles(self.mean, self.spread, self.longest, QUANTILES)

    def group(self, number: int, samples: int) -> list[int]:
        """Return the lengths of a group's samples, the same in every simulation."""
        return random.Random(number).choices(self.table, k=samples)

    @property
    def cached(self) -> float:
        """Mean tokens in the cache of a running sample, over time: long samples count more, since they run for more
        steps."""
        return self.prompt + sum(n * n for n in self.table) / sum(self.table) / 2


@dataclass(frozen=True)
class Pass:
    """A pass of a trainer over a step's samples."""

    name: str
    operations: int
    """Floating-point operations for each parameter and token."""
    steps: int
    """Optimiser steps into which the samples are cut; 1 for a forward pass."""
    gathers: int
    """Times that all weights, or gradients of their size, go between the ranks for each micro-batch."""


@dataclass(frozen=True)
class Job:
    """An rlvr stage and the machines that it is planned for."""

    shape: Shape
    passes: tuple[Pass, ...]
    learners: int
    prompts_per_step: int
    samples_per_prompt: int
    lengths: Lengths
    engine_gpus: int
    micro_batch: int
    """Tokens of a micro-batch on one rank."""
    sharing: int = 1
    """Ranks that share the tokens of a micro-batch (`trainer.sequence_parallel`)."""
    hides_transfer: bool = False
    """True if the trainer goes on working while its weights are on their way."""
    gpus_per_node: int = 8
    gpu_memory: float = 80e9
    train_flops: float = 350e12

    @property
    def samples(self) -> int:
        """Samples of a step."""
        return self.prompts_per_step * self.samples_per_prompt

    @property
    def weights(self) -> float:
        """Bytes of the weights."""
        return BYTES["bfloat16"] * self.shape.parameters

    # Engines

    @property
    def engine(self) -> EngineTimes:
        """Times of an engine, as `rl.planning.duration` has them: a step reads the weights and every running sample's cache."""
        w, shape = self.engine_gpus, self.shape
        token_products = 2 * shape.active / w / FLOPS
        cache = shape.kv_per_token("bfloat16")
        room = (DEFAULT_SHARE * self.gpu_memory * w - self.weights) / cache
        return EngineTimes(
            step_s=self.weights / w / BANDWIDTH + STEP_S,
            sample_s=token_products,
            token_s=cache / w / BANDWIDTH,
            read_s=token_products,
            swap_s=estimate(self.weights, "nccl", w, w, gathers=False, one_node=False).seconds,
            slots=max(1, min(IN_FLIGHT, int(room / self.lengths.cached))),
        )

    def transfer_s(self, nodes: int, shared: bool) -> float:
        """Return the seconds from the end of an update until engines have the weights."""
        ranks = nodes * self.gpus_per_node
        transport = "ipc" if shared else "nccl"
        return estimate(self.weights, transport, ranks, self.engine_gpus, gathers=True, one_node=nodes == 1).seconds

    # The trainer

    def train_parts(self, lengths: Sequence[int], nodes: int) -> dict[str, float]:
        """Return the seconds of a step's passes on so many nodes: `arithmetic` on evenly shared tokens, `uneven` ranks that wait
        for the one with the most tokens, and `gathers` that take longer than the arithmetic beside them."""
        ranks = nodes * self.gpus_per_node
        tokens = [length + self.lengths.prompt for length in lengths]
        parts = {"arithmetic": 0.0, "uneven": 0.0, "gathers": 0.0}
        # A node receives each weight that it lacks once, over its ports, and passes it on to its own GPUs.
        link = min(NVLINK, INFINIBAND * self.gpus_per_node) if nodes > 1 else NVLINK
        groups = max(1, ranks // self.sharing)
        shares: dict[int, list[float]] = {}  # number of optimiser steps -> the most tokens of a rank in each
        for part in self.passes:
            a_token = part.operations * self.shape.active / self.train_flops
            if part.steps not in shares:
                cuts = [len(tokens) * step // part.steps for step in range(part.steps + 1)]
                shares[part.steps] = [even_share(tokens[a:b], groups) / self.sharing for a, b in pairwise(cuts)]
            parts["arithmetic"] += a_token * sum(tokens) / ranks
            parts["uneven"] += a_token * (sum(shares[part.steps]) - sum(tokens) / ranks)
            for most in shares[part.steps]:
                gathers = part.gathers * max(1, ceil(most / self.micro_batch)) * self.weights / link
                parts["gathers"] += max(0.0, gathers - a_token * most)
        return parts

    def train_s(self, lengths: Sequence[int], nodes: int) -> float:
        """Return the seconds of a step's passes on so many nodes."""
        return sum(self.train_parts(lengths, nodes).values())

    def fits(self, nodes: int) -> bool:
        """Return whether so many nodes hold the states of all that learns."""
        return self.states(nodes) <= FULL * self.gpu_memory

    def states(self, nodes: int) -> float:
        """Return the bytes of states on each GPU of so many nodes (ZeRO-3)."""
        return self.learners * STATES * self.shape.parameters / (nodes * self.gpus_per_node)

    # The bound

    @property
    def gpu_seconds(self) -> tuple[float, float]:
        """GPU-seconds of a sample in engines whose slots are always full, and in a trainer whose ranks are always even."""
        engine, lengths = self.engine, self.lengths
        step_s = engine.of(1, engine.slots, round(engine.slots * lengths.cached))
        written = self.engine_gpus * lengths.mean * step_s / engine.slots
        read = self.engine_gpus * lengths.prompt * engine.read_s
        operations = sum(part.operations for part in self.passes)
        trained = operations * self.shape.active * (lengths.mean + lengths.prompt) / self.train_flops
        return written + read, trained

    def bound(self, nodes: int) -> float:
        """Return the samples a second of so many nodes if no GPU ever waited."""
        return nodes * self.gpus_per_node / sum(self.gpu_seconds)

    def assumptions(self) -> list[str]:
        """Return the assumptions behind the figures, a line each."""
        engine, (written, trained) = self.engine, self.gpu_seconds
        passes = ", ".join(f"{p.name} {p.operations} P" + (f" in {p.steps} steps" * (p.steps > 1)) for p in self.passes)
        step_ms = 1e3 * engine.of(1, engine.slots, round(engine.slots * self.lengths.cached))
        return [
            f"{amount(self.shape.parameters)} parameters, {self.prompts_per_step} prompts × {self.samples_per_prompt} samples a "
            f"step, responses lognormal (deviation of the logarithm {self.lengths.spread:g}), mean {self.lengths.mean:,.0f}, cut "
            f"at {self.lengths.longest:,}; prompts of {self.lengths.prompt} tokens",
            f"trainer: {passes}; {self.train_flops / 1e12:.0f} TFLOP/s a GPU, "
            f"micro-batches of {self.micro_batch:,} tokens on {self.sharing} rank{'s' * (self.sharing > 1)}, ZeRO-3 at 400 GB/s "
            "into a node, beside the arithmetic",
            f"engines: {self.engine_gpus} GPUs, {engine.slots} slots; a step {1e3 * engine.of(1, 1, 0):.1f} ms with one sample, "
            f"{step_ms:.1f} ms with all: products at {FLOPS / 1e12:.0f} TFLOP/s, weights and cache at {BANDWIDTH / 1e12:g} TB/s",
            f"weights: {self.transfer_s(8, False):.1f} s to engines elsewhere, of which {engine.swap_s:.1f} s hold an engine up",
            f"a sample costs {written:.1f} GPU-seconds to write in full engines and {trained:.1f} to train on; verifying is hidden",
        ]


def read_job(recipe: Recipe, shape: Shape, lengths: Lengths, name: str | None = None) -> Job:
    """Return the job of the recipe's rlvr stage of that name, or of its first. Raises ValueError without one."""
    stages = [s for s in recipe.stages if isinstance(s.config, Config) and name in (None, s.name)]
    if not stages:
        raise ValueError(f"the recipe has no rlvr stage{f' {name}' if name else ''}; name one that has")
    config, trainer = stages[0].config, recipe.header.trainer
    assert isinstance(config, Config)
    update = 8 if recipe.header.model.gradient_checkpointing else 6
    passes = [Pass("update", update * config.epochs, config.optimiser_steps, 3)]
    if not config.spares_old_logprobs:
        passes.append(Pass("logprobs", 2, 1, 1))
    if "reference" in config.roles:
        passes.append(Pass("reference", 2, 1, 1))
    if "teacher" in config.roles:
        passes.append(Pass("teacher", 2, 1, 1))  # assumed to be as large as the policy
    if "critic" in config.roles:
        passes.append(Pass("values", 2, 1, 1))
        passes.append(Pass("critic update", update * config.epochs, config.epochs * config.critic_minibatches, 3))
    expect = recipe.header.cluster.expect
    return Job(
        shape,
        tuple(passes),
        learners=1 + ("critic" in config.roles),
        prompts_per_step=config.prompts_per_step,
        samples_per_prompt=config.samples_per_prompt,
        lengths=lengths,
        engine_gpus=max(1, recipe.header.engines.gpus),
        micro_batch=trainer.tokens_per_microbatch,
        sharing=trainer.sequence_parallel,
        train_flops=1e12 * ((expect and expect.train_tflops) or 350),
    )
