"""Second opinions on the samples of each step, and the one warning where the reward rises without them.

Every sample is looked at twice more, at next to no cost: by the verifiers under `watch:` in the reward, which have judged
it already, and by the shape of its answer (`rewards.shapes`). The latter makes an opinion of its own: the score where the
answer may have been solved, 0 where it scores right and takes no solving.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, TypedDict

from rewards.resolve import asks_a_model
from rewards.shapes import SHAPES, find_shape
from rewards.watch import WATCH
from rl.config import ConfigError, read_assignment
from rl.run.alarm import Divergence, History, Sums
from rl.run.tracker import rollout_file
from rl.stages.scoring import by_prompt
from rl.terminal import shell_command

if TYPE_CHECKING:
    from rewards.combine import PartConfig, RewardConfig
    from rl.types import Scored

SOLVED = "solved"
"""Name of the opinion that the shapes of the answers make."""
ALARM = "watch_alarm"
"""Metric that is 1 from the step of the warning on."""
SHAPE_WORDS = {"parroted": "only say the question again", "listed": "list every answer", "empty": "say nothing"}
RIGHT = 0.5  # lowest score that counts as right, as in curation and evaluation
LONGEST_EXAMPLE = 100  # characters of a text in the warning


class WatchState(TypedDict):
    """The state that a checkpoint keeps, as JSON."""

    histories: dict[str, tuple[list[Sums], int]]
    has_warned: bool


@dataclass(frozen=True, slots=True)
class Look:
    """A sample as one opinion sees it: its reward and its second score, both from 0 to 1."""

    sample: Scored
    reward: float
    opinion: float


class Watch:
    """The second opinions of one stage."""

    def __init__(self, reward: RewardConfig, folder: Path | None = None) -> None:
        """Start without a history; `folder` is the recipe's, in which its verifiers are looked up."""
        self.reward, self.folder = reward, folder
        self.compared_parts: dict[str, str | None] = {SOLVED: None, **{w.title: w.of for w in reward.watch}}
        """The part of the reward that each opinion is compared with; None for `accuracy` or the score."""
        self.histories = {name: History() for name in self.compared_parts}
        self.has_warned = False

    @property
    def state(self) -> WatchState:
        """The state that a checkpoint keeps."""
        histories = {name: (history.rows, history.steps) for name, history in self.histories.items()}
        return {"histories": histories, "has_warned": self.has_warned}

    def restore(self, state: WatchState) -> None:
        """Go on from the state of a checkpoint."""
        self.histories = {name: History(*state["histories"].get(name, ())) for name in self.compared_parts}
        self.has_warned = state["has_warned"]

    def observe(self, draws: Sequence[Sequence[Scored]]) -> tuple[dict[str, float], dict[str, Divergence]]:
        """Return the step's metrics, and how far the reward has left each opinion that it leaves behind: nothing once a
        warning has been given. `draws` are marked samples."""
        metrics: dict[str, float] = {}
        for name, history in self.histories.items():
            # a prompt that was drawn twice is two groups
            groups = [self._look(name, group) for draw in draws for group in by_prompt(draw).values()]
            looks = [look for group in groups for look in group]
            # Means of groups: samples of one prompt rise and fall together, and are not so many observations.
            history.add(
                [
                    (fmean(look.reward for look in group), fmean(look.opinion for look in group))
                    for group in groups
                    if group
                ]
            )
            if name == SOLVED:  # no verifier of the recipe: its metrics are the shapes, not an opinion
                metrics |= _count_shapes(looks)
                continue
            if looks:
                metrics[f"{WATCH}/{name}"] = fmean(look.opinion for look in looks)
            if errors := sum(f"{WATCH}/{name}/error" in s.verdict.parts for draw in draws for s in draw):
                metrics[f"watch_errors/{name}"] = float(errors)
        divergences: dict[str, Divergence] = {}
        if not self.has_warned:
            candidates = {name: history.find_divergence() for name, history in self.histories.items()}
            divergences = {name: divergence for name, divergence in candidates.items() if divergence is not None}
        self.has_warned |= bool(divergences)  # one warning a stage: who reads it knows where to look
        return metrics | {ALARM: float(self.has_warned)}, divergences

    def describe(
        self,
        divergences: Mapping[str, Divergence],
        draws: Sequence[Sequence[Scored]],
        step: int,
        stage: str,
        run_dir: Path,
    ) -> str:
        """Return the warning: what rises, what does not, an example, and what to do next."""
        samples = [sample for draw in draws for sample in draw if sample.verdict.error is None]
        # The widest gap makes the clearest sentence.
        name = max(divergences, key=lambda name: _gap(divergences[name]))
        divergence, compared_part = divergences[name], self.compared_parts[name]
        suspects = [look for look in self._look(name, samples) if look.reward >= RIGHT > look.opinion]
        # The shortest is read at a glance.
        suspect = min(suspects, key=lambda look: len(look.sample.rollout.text), default=None)
        part = self._find_part(compared_part, suspect)
        command = ""
        if not asks_a_model(part.verifier):  # an attack calls it again and again
            verifier = _from_here(part.verifier, self.folder)
            command = f"`{shell_command('rl', 'verifiers', 'attack', verifier, *_options(part.args))}`, and "
        has_part = compared_part or any(other.name == "accuracy" for other in self.reward.parts)
        title = f"{part.name} ({part.verifier})" if has_part else "the score"
        others = [
            f"{_title(other)} from {_from_to(divergences[other].opinion)}" for other in divergences if other != name
        ]
        return (
            f"rlvr '{stage}', step {step}: the reward may be hacked. {title} rises from {_from_to(divergence.reward)} within "
            # Two windows of so many steps, one after the other.
            f"{2 * divergence.steps} steps, but {_title(name, suspects)} from {_from_to(divergence.opinion)}"
            f"{''.join(f', and {other}' for other in others)}{_quote(suspect)}. Next: {command}read the samples in {rollout_file(run_dir, stage, step)}"
        )

    def _look(self, name: str, samples: Sequence[Scored]) -> list[Look]:
        """Return the samples on which there is such an opinion."""
        looks: list[Look] = []
        for sample in samples:
            reward = _compared_score(sample, self.compared_parts[name])
            if reward is None:
                continue
            if name == SOLVED:
                # A right answer may have such a shape by chance; that right answers take it more and more is no chance.
                opinion = 0.0 if reward >= RIGHT and shape_of(sample) else reward
            else:
                opinion = sample.verdict.parts.get(f"{WATCH}/{name}")
            if opinion is not None:
                looks.append(Look(sample, reward, opinion))
        return looks

    def _find_part(self, compared_part: str | None, suspect: Look | None) -> PartConfig:
        """Return the part of the reward that has judged the suspect."""
        parts = [part for part in self.reward.parts if part.name == (compared_part or "accuracy")] or self.reward.parts
        if suspect is not None:
            # Parts may share a name where no prompt is judged by both.
            parts = [part for part in parts if part.applies(suspect.sample.rollout.prompt)] or parts
        return parts[0]


def mark_shapes(scored: Sequence[Scored]) -> list[Scored]:
    """Return the samples, those whose answers take no solving with the name of their shape among the parts of the verdict:
    `watch/parroted`."""
    marked: list[Scored] = []
    for sample in scored:
        shape = find_shape(sample.rollout.prompt, sample.rollout.response) if sample.verdict.error is None else None
        if shape is not None:
            parts = {**sample.verdict.parts, f"{WATCH}/{shape}": 1.0}
            sample = replace(sample, verdict=replace(sample.verdict, parts=parts))
        marked.append(sample)
    return marked


def shape_of(sample: Scored) -> str | None:
    """Return the shape that `mark_shapes` found."""
    return next((name for name in SHAPES if f"{WATCH}/{name}" in sample.verdict.parts), None)


def _compared_score(sample: Scored, part: str | None) -> float | None:
    """Return the score that opinions are compared with, between 0 and 1; None where the sample has no such part."""
    parts, score = sample.verdict.parts, sample.verdict.score
    value = parts.get("accuracy", score) if part is None else parts.get(part)
    return None if value is None else min(max(value, 0.0), 1.0)  # a score may be any weighted sum


def _count_shapes(looks: Sequence[Look]) -> dict[str, float]:
    """Return the share of each shape among the answers that score right."""
    # Of the right ones: a wrong answer of such a shape has gained nothing by it.
    right = [look for look in looks if look.reward >= RIGHT]
    counts = Counter(shape_of(look.sample) for look in right)
    return {f"{WATCH}/{name}": counts[name] / max(len(right), 1) for name in SHAPES}


def _gap(divergence: Divergence) -> float:
    # b and w as in `rl.run.alarm`: means of reward and opinion, before and after.
    (b0, b1), (w0, w1) = divergence.reward, divergence.opinion
    return (b1 - b0) - (w1 - w0)


def _title(name: str, suspects: Sequence[Look] = ()) -> str:
    """Return the subject and verb of what does not rise."""
    if name != SOLVED:
        return f"its second opinion {name} goes"
    shapes = Counter(shape_of(look.sample) for look in suspects)
    words = SHAPE_WORDS.get(str(shapes.most_common(1)[0][0]), "") if shapes else "take no solving"
    return f"without the answers that {words} it goes"


def _from_to(values: tuple[float, float]) -> str:
    return f"{values[0]:.2f} to {values[1]:.2f}"


def _quote(suspect: Look | None) -> str:
    """Return an example for the warning."""
    if suspect is None:
        return ""
    rollout = suspect.sample.rollout
    gold = "" if rollout.prompt.answer is None else f" (gold {_shorten(rollout.prompt.answer)})"
    return (
        f"; {_shorten(rollout.response)!r} to {_shorten(rollout.prompt.question)!r}{gold} scores {suspect.reward:.3g}"
    )


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_EXAMPLE else f"{line[: LONGEST_EXAMPLE - 1]}…"


def _from_here(verifier: str, folder: Path | None) -> str:
    """Return a verifier as `rl verifiers` finds it in the working directory, and not in the recipe's `folder`."""
    file = verifier.rpartition(":")[0]
    if folder is None or not file.endswith(".py") or not (folder / file).is_file():
        return verifier
    beside = folder / verifier
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _options(args: Mapping[str, object]) -> list[str]:
    """Return a verifier's arguments as `rl verifiers` takes them."""
    # JSON is YAML too, and keeps the text "1" and the number 1 apart.
    values = {key: value if _is_plain(value) else json.dumps(value, ensure_ascii=False) for key, value in args.items()}
    return [word for key, value in values.items() for word in ("--arg", f"{key}={value}")]


def _is_plain(value: object) -> bool:
    """Return whether it is a text that `--arg` reads as it stands."""
    try:
        return isinstance(value, str) and read_assignment(value, "--arg") == value
    except ConfigError:
        return False
