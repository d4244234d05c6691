"""Cuts the chains of demonstrations at random and leaves their answers whole: think-incomplete SFT.

A model that speaks while it still thinks answers from chains that have only begun. One that was shown such chains, each closed
before its end and followed by the right answer, loses little by it (Mind-Paced Speaking, arXiv 2510.09592, section 3.3; that inner
steps are left out, too: section 4.2). The paper does not tell how long the chains that it keeps are: the shares are ours. Nor does it
tell whether the tag that closes a cut chain is learned. Here it is not: what is cut teaches to answer from it, and not to end there.
A small model that learned the tag with the rest cut its own chains to half (docs/findings.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Literal

from rl.config import ConfigError

if TYPE_CHECKING:
    from rl.types import Prompt


@dataclass(frozen=True)
class PruneConfig:
    """Chains of demonstrations that are cut short. Steps are never cut in two nor written anew."""

    steps: int | Literal["uniform"] = "uniform"
    """Steps that are left of a chain, from its beginning. `uniform`: drawn from none to all of them, each number alike."""
    inner: float = 0.1
    """Share of the demonstrations that lose steps within the chain instead: each but the first and the last with a chance of
    one half, one of them at least."""
    whole: float = 0.2
    """Share of the demonstrations whose chain stays whole, beside those of which all steps were drawn."""
    by: str = "paragraph"
    """Beginning of a step: `paragraph` (behind an empty line), `line`, or a regular expression at whose matches a step begins, such
    as ` then `."""

    def validate(self, place: str) -> None:
        """Raise ConfigError for shares and patterns that mean nothing."""
        if self.steps != "uniform" and self.steps < 0:
            raise ConfigError(f"{place}.steps: must not be negative; got {self.steps}")
        if min(self.inner, self.whole) < 0 or self.inner + self.whole > 1:
            raise ConfigError(
                f"{place}: `inner` and `whole` are shares of one whole; got {self.inner:g} and {self.whole:g}"
            )
        try:
            pattern = re.compile(self.by)
        except re.error as error:
            raise ConfigError(f"{place}.by: `{self.by}` is no regular expression: {error}") from None
        if pattern.match(""):
            raise ConfigError(f"{place}.by: `{self.by}` matches everywhere; write what a step begins with")

    def split(self, chain: str) -> list[str]:
        """Return the steps of a chain, which make the chain again when they are joined."""
        if self.by in ("paragraph", "line"):
            # What separates steps stays with the one before it.
            separator = r"\n[ \t]*\n\s*" if self.by == "paragraph" else r"\n\s*"
            starts = [match.end() for match in re.finditer(separator, chain)]
        else:
            starts = [match.start() for match in re.finditer(self.by, chain, re.MULTILINE)]
        places = [0, *(place for place in starts if 0 < place < len(chain)), len(chain)]
        return [chain[start:end] for start, end in pairwise(places)]

    def prune(self, chain: str, random: Random) -> tuple[str, bool]:
        """Return the chain with some of its steps, and whether it lacks its end; an empty one has no steps."""
        steps = self.split(chain) if chain else []
        # All three are drawn for every chain, so that one share does not change what another draws.
        kind, count, chances = random.random(), random.randint(0, len(steps)), [random.random() for _ in steps[1:-1]]
        if kind < self.whole:
            return chain, False
        if kind < self.whole + self.inner and chances:  # a chain without inner steps loses its end, as the others do
            # The likeliest goes in any case: a demonstration that was chosen to lose a step loses one.
            gone = {i for i, chance in enumerate(chances, 1) if chance < 0.5 or chance == min(chances)}
            return "".join(step for i, step in enumerate(steps) if i not in gone).strip(), False
        beginning = steps[: count if self.steps == "uniform" else self.steps]
        return "".join(beginning).strip(), len(beginning) < len(steps)


def prune_demonstrations(prompts: Sequence[Prompt], config: PruneConfig, seed: int, first: int) -> list[Prompt]:
    """Return prompts with the chains of their demonstrations pruned. `first` is the number of the first among all that the stage
    draws, so that each epoch cuts otherwise and a resume as the run before it."""
    from rollouts.seeds import seed_of

    pruned: list[Prompt] = []
    for i, prompt in enumerate(prompts, first):
        if prompt.demonstration is not None:
            chain, is_cut = config.prune(prompt.demonstration.reasoning, Random(seed_of(seed, "prune", i, prompt.id)))
            prompt = replace(prompt, demonstration=replace(prompt.demonstration, reasoning=chain, is_cut=is_cut))
        pruned.append(prompt)
    return pruned
