"""Selects the questions worth asking: by a rule on the prompt, and by a verifier that judges the question alone.
Step-Audio-R1 distils on questions that have to be heard (arXiv 2511.15848, MGRD, step 1). Every opinion is one line of
`selection.jsonl` the moment it is given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rewards.combine import PartConfig, RewardConfig
from rl.config import ConfigError, build
from rl.json_files import read_records
from rl.types import Prompt, Rollout

if TYPE_CHECKING:
    from rl.stages.context import Context
    from rl.types import Scored

SELECTION = "selection.jsonl"
FIX = "remove it, and what it held is judged again"
"""Advice at the end of an error about a damaged file, or a damaged line of it."""
PART = "selected"
NOT_JUDGED = "not judged as a question"


@dataclass(frozen=True)
class SelectBy:
    """Settings of a selection by a verifier."""

    verifier: str
    """Verifier, named as in a part of the reward; it sees the question with an empty answer."""
    args: dict[str, object] = field(default_factory=dict[str, object])
    """Arguments of the verifier."""
    least: float = 0.5
    """The least score of a question that is asked."""

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
            if policy_texts := [name for name in judge.texts if name in POLICY_TEXTS]:
                raise ConfigError(
                    f"{place}.args.shows: there is no {policy_texts[0]} yet to show; name `rubric: perception`, or one of your "
                    "own with `shows: [question]`"
                )

    def reward(self, shared: RewardConfig) -> RewardConfig:
        """Return a reward of this part alone, with the deadline and workers of the `shared` one."""
        # Second opinions and the bounds of the score are about answers, of which there is none yet.
        return replace(shared, parts=[PartConfig(self.verifier, PART, args=self.args)], watch=[], clip=None)


@dataclass(frozen=True, slots=True)
class Opinion:
    """A verdict on a question, as a line of `selection.jsonl` holds it."""

    prompt: str
    score: float
    error: str | None = None
    reason: str = ""


Sources = Mapping[str, Sequence[Prompt]]


def select_prompts(sources: Sources, rule: Mapping[str, object] | None) -> dict[str, list[Prompt]]:
    """Return {source: the prompts that a `when` rule of a reward part names}; all of them without a rule."""
    part = PartConfig("select", when=dict(rule) if rule else None)
    return {name: [prompt for prompt in prompts if part.applies(prompt)] for name, prompts in sources.items()}


def select_questions(
    by: SelectBy, context: Context, sources: Sources, shared: RewardConfig
) -> tuple[dict[str, list[Prompt]], dict[str, int]]:
    """Return ({source: the prompts whose questions `by` passes}, how many each reason dropped). A question that an
    earlier iteration of the stage has judged is not judged again. Raises ValueError when too many cannot be judged."""
    file = context.folder / SELECTION
    files = [path for path in (context.earlier("selection"), file) if path is not None]
    opinions_so_far = {o.prompt: o for path in files for o in read_opinions(path) if o.error is None}
    # Written anew: with those of the iteration before, and without errors, which are asked again.
    _write(file, opinions_so_far.values())
    prompts = [prompt for of_source in sources.values() for prompt in of_source]
    count = sum(prompt.id in opinions_so_far for prompt in prompts)
    if count:
        context.say(f"{context.name}: {count:,} of {len(prompts):,} questions are judged already")
    opinions = opinions_so_far | _ask(
        by, context, [prompt for prompt in prompts if prompt.id not in opinions_so_far], shared
    )
    passing = {
        name: [p for p in of_source if opinions[p.id].error is None and opinions[p.id].score >= by.least]
        for name, of_source in sources.items()
    }
    errors = sum(opinions[prompt.id].error is not None for prompt in prompts)
    below = len(prompts) - errors - sum(map(len, passing.values()))
    return passing, {NOT_JUDGED: errors, f"as a question below {by.least:g}": below}


def read_opinions(file: Path) -> list[Opinion]:
    """Return the opinions of the file; a last line that a kill has torn is left out. Raises ValueError for any other."""
    opinions: list[Opinion] = []
    for place, opinion in read_records(Opinion, file, FIX):
        if not math.isfinite(opinion.score):
            raise ValueError(f"{place}: score is {opinion.score}, not a finite number; {FIX}")
        opinions.append(opinion)
    return opinions


def _write(file: Path, opinions: Iterable[Opinion]) -> None:
    from rl.run.files import write_jsonl

    write_jsonl(file, (asdict(opinion) for opinion in opinions))


def _ask(by: SelectBy, context: Context, prompts: Sequence[Prompt], shared: RewardConfig) -> dict[str, Opinion]:
    """Return {prompt: opinion} of questions that nobody has judged yet, each stored as it arrives."""
    from rl.run.progress import Progress
    from rl.stages.sampling import judge_rollouts, line_appender

    opinions: dict[str, Opinion] = {}
    if not prompts:
        return opinions
    write, title = line_appender(context.folder / SELECTION), f"{context.name} questions"
    with context.reward_service(by.reward(shared)) as rewards, Progress(title, len(prompts)) as progress:
        try:
            for scored in judge_rollouts(rewards, map(_empty_answer, prompts)):
                fresh = [_opinion(s) for s in scored]
                write(fresh)
                opinions |= {opinion.prompt: opinion for opinion in fresh}
                progress.advance(len(opinions), {})
        # Too many errors, or a service that has failed: the text alone would be taken for one about the stage's reward.
        except ValueError as error:
            raise ValueError(f"{context.name}.select_by: {error}") from error
    return opinions


def _opinion(scored: Scored) -> Opinion:
    verdict = scored.verdict
    return Opinion(scored.rollout.prompt.id, verdict.score, verdict.error, verdict.reason)


def _empty_answer(prompt: Prompt) -> Rollout:
    """Return the question with an empty answer."""
    import numpy as np

    ids, action_mask, logprobs = np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.float32)
    return Rollout(prompt, 0, ids, action_mask, logprobs, "stop", 0, "")
