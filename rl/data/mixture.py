"""Several sources in one stage, by weight: `data: {spoken: 0.7, text: 0.3}`. One name alone is a mixture of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic

from rl.config import ConfigError
from rl.data.curriculum import Curriculum, Item
from rl.types import Prompt

Data = str | dict[str, float]
"""A source, or sources with their weights."""


def weights_of(data: Data) -> dict[str, float]:
    """{source: its share}; the shares sum to 1."""
    weights = {data: 1.0} if isinstance(data, str) else data
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def check_weights(data: Data, place: str) -> None:
    """Raises ConfigError for a mixture of nothing, or a weight that is not above 0."""
    if isinstance(data, str):
        return
    if not data:
        raise ConfigError(f"{place}: empty; name a data set, or several with weights such as {{a: 0.7, b: 0.3}}")
    for name, weight in data.items():
        if not 0 < weight < float("inf"):
            raise ConfigError(f"{place}.{name}: a weight must be above 0; got {weight:g}; remove the source instead")


def called(data: Data) -> str:
    """The mixture in words: `spoken (70 %) + text (30 %)`."""
    shares = weights_of(data)
    return " + ".join(name if len(shares) == 1 else f"{name} ({share:.0%})" for name, share in shares.items())


def quoted(data: Data) -> str:
    """Return the data set in quotes, or the mixture in words, for messages."""
    return f"'{data}'" if isinstance(data, str) else called(data)


def limits(data: Data, limit: int | None) -> dict[str, int | None]:
    """{source: how many of its prompts make `limit` together}: its share of them, at least one each."""
    if limit is None:
        return dict.fromkeys(weights_of(data))
    exact = {name: limit * share for name, share in weights_of(data).items()}
    whole = {name: int(count) for name, count in exact.items()}
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[: limit - sum(whole.values())]:
        whole[name] += 1  # largest remainders
    return {name: max(1, count) for name, count in whole.items()}


def apportion(count: int, shares: Mapping[str, float], taken: Mapping[str, int] | None = None) -> dict[str, int]:
    """{source: draws} of the next `count` draws, each given to the source that is farthest behind its share of all
    draws so far, `taken` among them: never more than one draw from it, whatever the size of a step."""
    behind = {name: -float((taken or {}).get(name, 0)) for name in shares}
    before = -sum(behind.values())
    given = dict.fromkeys(shares, 0)
    for total in range(int(before) + 1, int(before) + count + 1):
        name = max(shares, key=lambda name: shares[name] * total + behind[name])
        behind[name] -= 1
        given[name] += 1
    return given


def epoch(rows: Mapping[str, int], shares: Mapping[str, float]) -> int:
    """Draws of one epoch: it ends when the first source has been seen once, so that none is seen more often than one
    asks for."""
    return max(1, round(min(rows[name] / share for name, share in shares.items())))


def distinct(sources: Mapping[str, Sequence[Prompt]]) -> dict[str, Sequence[Prompt]]:
    """The sources as they are. Raises ValueError when two of them have a prompt of the same id: groups of samples would
    run together."""
    owner: dict[str, str] = {}
    for name, prompts in sources.items():
        for prompt in prompts:
            if owner.setdefault(prompt.id, name) != name:
                raise ValueError(
                    f"data: '{owner[prompt.id]}' and '{name}' both have a prompt '{prompt.id}'; rename ids"
                )
    return dict(sources)


class Mixture(Generic[Item]):
    """An endless seeded stream over several sources, each in its own order (`Curriculum`), by weight."""

    def __init__(self, sources: Mapping[str, Sequence[Item]], shares: Mapping[str, float], seed: int) -> None:
        self.parts = {name: Curriculum(items, seed) for name, items in sources.items()}
        self.shares = dict(shares)
        self.taken = dict.fromkeys(sources, 0)

    def __len__(self) -> int:
        """Draws of one epoch."""
        return epoch({name: len(part.prompts) for name, part in self.parts.items()}, self.shares)

    def draw(self, count: int) -> list[Item]:
        """The next `count`, source by source."""
        given = apportion(count, self.shares, self.taken)
        self.taken = {name: self.taken[name] + given[name] for name in given}
        return [item for name, part in self.parts.items() for item in part.draw(given[name])]

    @property
    def drawn(self) -> dict[str, list[int]]:
        """The whole state: {source: [draws, place in its stream]}."""
        return {name: [self.taken[name], part.drawn] for name, part in self.parts.items()}

    @drawn.setter
    def drawn(self, state: Mapping[str, Sequence[int]]) -> None:
        for name, (taken, drawn) in state.items():
            self.taken[name], self.parts[name].drawn = taken, drawn
