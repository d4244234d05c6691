"""Configures second opinions on the samples of a reward: its key `watch:`."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from rewards.shapes import SHAPES
from rewards.when import VerifierConfig, check_when
from rl.config import ConfigError, did_you_mean

WATCH = "watch"
"""Name under which verdicts hold second opinions: the score of one named `strict` is the part `watch/strict`."""


@dataclass(frozen=True, slots=True)
class WatchConfig(VerifierConfig):
    """A second opinion: a verifier that judges the same samples and never counts. An `rlvr` stage warns where the reward
    rises and its second opinion does not."""

    name: str | None = None
    """The name under which it is logged, as `watch/NAME`; the verifier's own name by default."""
    of: str | None = field(default=None, kw_only=True)
    """The part of the reward that it is compared with; by default `accuracy`, or the whole score where a sample has no such
    part."""

    @property
    def title(self) -> str:
        """The name under which it is logged."""
        return self.name or self.verifier

    @property
    def part_name(self) -> str:
        """The name of its score in a verdict: `watch/NAME`."""
        return f"{WATCH}/{self.title}"


def check_watch(watch: Sequence[WatchConfig], part_names: Set[str], place: str) -> None:
    """Raise ConfigError where a name is taken, or an opinion is about no part of the reward."""
    if WATCH in {name.partition("/")[0] for name in part_names}:
        raise ConfigError(f"{place}.parts: the name '{WATCH}' is that of second opinions; rename the part")
    titles = [opinion.title for opinion in watch]
    for i, opinion in enumerate(watch):
        here = f"{place}.{WATCH}[{i}]"
        check_when(opinion.when or {}, f"{here}.when")
        if opinion.title in titles[:i] or opinion.title in SHAPES:
            raise ConfigError(f"{here}: the name '{opinion.title}' is taken; give it another `name`")
        if opinion.of is not None and opinion.of not in part_names:
            raise ConfigError(f"{here}.of: no part '{opinion.of}'{did_you_mean(opinion.of, part_names)}")
