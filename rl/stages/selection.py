"""Which questions are worth asking, by a verifier that judges the question alone: Step-Audio-R1 distils on questions that
have to be heard (arXiv 2511.15848, MGRD, step 1). Every opinion is one line of `selection.jsonl` the moment it is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewards.combine import PartConfig, RewardConfig
from rl.config import ConfigError, build
from rl.types import Prompt, Rollout

if TYPE_CHECKING:
    from rl.stages.context import Context
    from rl.types import Scored

SELECTION = "selection.jsonl"
PART = "selected"
UNJUDGED = "not judged as a question"


@dataclass(frozen=True)
class SelectBy:
    verifier: str
    """As in a part of the reward; it sees the question with an empty answer."""
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    least: float = 0.5
    """Questions with this score or more are asked."""

    def validate(self, place: str) -> None:
        if not 0 <= self.least <= 1:
            raise ConfigError(f"{place}.least: scores lie between 0 and 1; got {self.least:g}")
        if self.verifier == "reward_model":
            raise ConfigError(
                f"{place}.verifier: a reward_model judges answers; name a verifier that reads the question"
            )
        if self.verifier == "judge":
            from rewards.judge.rubric import POLICY_TEXTS
            from rewards.verifiers.judge import Config

            judge = build(Config, self.args, f"{place}.args")
            if judge.against:
                raise ConfigError(f"{place}.args.against: there is no answer yet to compare; remove it")
            if shown := [name for name in judge.texts if name in POLICY_TEXTS]:
                raise ConfigError(
                    f"{place}.args.shows: there is no {shown[0]} yet to show; name `rubric: perception`, or one of your "
                    "own with `shows: [question]`"
                )

    def reward(self, shared: RewardConfig) -> RewardConfig:
        """This part alone, with the deadline, workers and bounds of the reward beside it."""
        return replace(shared, parts=[PartConfig(self.verifier, PART, args=self.args)], clip=None)


@dataclass(frozen=True, slots=True)
class Opinion:
    """Of a question, as it is kept."""

    prompt: str
    score: float
    error: str | None = None
    reason: str = ""


Sources = Mapping[str, Sequence[Prompt]]


def selected_by(
    by: SelectBy, context: Context, sources: Sources, shared: RewardConfig
) -> tuple[dict[str, list[Prompt]], dict[str, int]]:
    """({source: the prompts whose questions `by` passes}, how many each reason dropped). What an earlier iteration of the
    stage has asked is not asked again. Raises ValueError when too many cannot be judged."""
    file = context.folder / SELECTION
    earlier = context.earlier("selection")
    have = {o.prompt: o for path in (earlier, file) if path is not None for o in read(path) if o.error is None}
    _write(file, have.values())
    prompts = [prompt for of_source in sources.values() for prompt in of_source]
    known = sum(prompt.id in have for prompt in prompts)
    if known:
        context.say(f"{context.name}: {known:,} of {len(prompts):,} questions are judged already")
    opinions = have | _ask(by, context, [prompt for prompt in prompts if prompt.id not in have], shared)
    passed = {
        name: [p for p in of_source if opinions[p.id].error is None and opinions[p.id].score >= by.least]
        for name, of_source in sources.items()
    }
    errors = sum(opinions[prompt.id].error is not None for prompt in prompts)
    below = len(prompts) - errors - sum(map(len, passed.values()))
    return passed, {UNJUDGED: errors, f"as a question below {by.least:g}": below}


def read(file: Path) -> list[Opinion]:
    """What the file holds; a last line that a kill has torn is left out. Raises ValueError for any other line."""
    if not file.exists():
        return []
    *lines, _torn = file.read_bytes().split(b"\n")
    opinions: list[Opinion] = []
    for number, line in enumerate(lines, 1):
        try:
            opinions.append(Opinion(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}:{number}: {error}; remove the line, the question is judged again") from error
    return opinions


def _write(file: Path, opinions: Iterable[Opinion]) -> None:
    from rl.run.files import write_lines

    write_lines(file, (asdict(opinion) for opinion in opinions))


def _ask(by: SelectBy, context: Context, prompts: Sequence[Prompt], shared: RewardConfig) -> dict[str, Opinion]:
    from rl.run.progress import Progress
    from rl.stages.sampling import appending, judged

    found: dict[str, Opinion] = {}
    if not prompts:
        return found
    write = appending(context.folder / SELECTION)
    with context.judging(by.reward(shared)) as rewards, Progress(f"{context.name} questions", len(prompts)) as progress:
        try:
            for scored in judged(rewards, map(_alone, prompts)):
                fresh = [_opinion(s) for s in scored]
                write(fresh)
                found |= {opinion.prompt: opinion for opinion in fresh}
                progress.advance(len(found), {})
        except ValueError as error:
            raise ValueError(f"{context.name}.select_by: {error}") from error
    return found


def _opinion(scored: Scored) -> Opinion:
    verdict = scored.verdict
    return Opinion(scored.rollout.prompt.id, verdict.score, verdict.error, verdict.reason)


def _alone(prompt: Prompt) -> Rollout:
    """The question with nothing said to it."""
    import numpy as np

    nothing = np.zeros(0)
    ids, written, logprobs = nothing.astype(np.int64), nothing.astype(bool), nothing.astype(np.float32)
    return Rollout(prompt, 0, ids, written, logprobs, "stop", 0, "")
