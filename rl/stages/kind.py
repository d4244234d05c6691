"""The declaration of a kind of stage. A new stage is one file with a `KIND`, and one line in `registry.STAGES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rl.stages.context import Context, Outcome
    from rl.stages.settings import StageConfig
    from rl.stages.workload import StagePlan, Work

MODEL_REFERENCE = {"model": "model"}
"""Every stage may start from the model that it names."""


@dataclass(frozen=True)
class Kind:
    """A kind of stage.

    Example, a stage that says hello and leaves nothing (tests/stages/test_kind.py runs one like it):

        @dataclass
        class Config(StageConfig):
            greeting: str = "hello"

        def run(config: Config, context: Context) -> Outcome:
            prompts = context.prompts(config.data, config.split, config.limit)
            context.say(f"{config.greeting}, {len(prompts)} prompts")
            return Outcome({"prompts": float(len(prompts))})

        def plan(config: Config, work: Work) -> StagePlan:
            return work.plan(f"greets {work.prompts}")

        KIND = Kind(Config, run, plan)
    """

    Config: type[StageConfig]
    """Dataclass of its settings, as a recipe has them."""
    run: Callable[[Any, Context], Outcome]
    """Function that does the work: `run(config, context)`."""
    plan: Callable[[Any, Work], StagePlan]
    """Function that says before anything starts what the work will be: `plan(config, work)`."""
    makes: tuple[str, ...] = ()
    """Kinds of the artifacts that it leaves to later stages: model, difficulty, distilled, samples, pairs, …"""
    reads: Literal["prompts", "demonstrations", "pairs"] = "prompts"
    """Content that each row of its data must have."""
    references: Mapping[str, str] = field(default_factory=lambda: dict(MODEL_REFERENCE))
    """Keys of its settings that name an earlier stage, and which kind of artifact of it."""
    filters: bool = False
    """True if its counts are a funnel: the number that came in, then the number left after each step."""
    measures: bool = False
    """True if its metrics measure the model, with intervals, and are not the course of a training."""
    teaches_encoder: bool = False
    """The audio encoder learns in it, though it is frozen elsewhere."""
    length: str | None = None
    """Key of its settings that says how long it trains, and that may be raised when a run is resumed: it goes on from its last
    checkpoint. None for a stage that has no checkpoints."""
    metric_names: Callable[[Any], list[str]] | None = None
    """Beginnings (up to a `/`) of the names of its metrics; None where they are known only once it has run."""
