"""Mixes several sources in one stage, by weight: `data: {spoken: 0.7, text: 0.3}`. One name alone is a mixture of
one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, Literal

from rl.config import ConfigError
from rl.data.curriculum import Curriculum, Item
from rl.data.pass_rates import PassRates, Rates
from rl.types import Prompt

Order = Literal["shuffled", "pass_rate"]
"""Order in which a source's prompts are drawn: every prompt once an epoch, or by its recent pass rate."""

Data = str | dict[str, float]
"""Name of a source, or names with their weights."""


def weights_of(data: Data) -> dict[str, float]:
    """Return {source: its share}; the shares sum to 1."""
    weights = {data: 1.0} if isinstance(data, str) else data
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def check_weights(data: Data, place: str) -> None:
    """Raise ConfigError for a mixture of nothing, or a weight that is not above 0."""
    if isinstance(data, str):
        return
    if not data:
        raise ConfigError(f"{place}: empty; name a data set, or several with weights such as {{a: 0.7, b: 0.3}}")
    for name, weight in data.items():
        if not 0 < weight < float("inf"):
            raise ConfigError(f"{place}.{name}: a weight must be above 0; got {weight:g}; remove the source instead")


def describe(data: Data) -> str:
    """Return the mixture in words: `spoken (70%) + text (30%)`."""
    shares = weights_of(data)
    return " + ".join(name if len(shares) == 1 else f"{name} ({share:.0%})" for name, share in shares.items())


def quoted(data: Data) -> str:
    """Return the data set in quotes, or the mixture in words, for messages."""
    return f"'{data}'" if isinstance(data, str) else describe(data)


def limits(data: Data, limit: int | None) -> dict[str, int | None]:
    """Return {source: how many of its prompts to read} so that they make `limit` together: its share of them, at least
    one each; None for all of them."""
    if limit is None:
        return dict.fromkeys(weights_of(data))
    exact = {name: limit * share for name, share in weights_of(data).items()}
    whole = {name: int(count) for name, count in exact.items()}
    # What rounding down left goes to the largest remainders.
    for name in sorted(exact, key=lambda name: whole[name] - exact[name])[: limit - sum(whole.values())]:
        whole[name] += 1
    return {name: max(1, count) for name, count in whole.items()}  # a source without prompts cannot be drawn from


def apportion(count: int, shares: Mapping[str, float], earlier: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return {source: draws} of the next `count` draws. Each goes to the source that is farthest behind its share of all
    draws, the `earlier` ones among them: so none is ever a draw or more off, whatever the size of a step."""
    behind = {name: -float((earlier or {}).get(name, 0)) for name in shares}
    start = int(-sum(behind.values()))
    draws = dict.fromkeys(shares, 0)
    for total in range(start + 1, start + count + 1):
        name = max(shares, key=lambda name: shares[name] * total + behind[name])
        behind[name] -= 1
        draws[name] += 1
    return draws


def epoch(rows: Mapping[str, int], shares: Mapping[str, float]) -> int:
    """Return the draws of one epoch of a mixture: it ends when the first source has been seen once, so that no prompt is
    seen more often than the number of epochs asked for."""
    return max(1, round(min(rows[name] / share for name, share in shares.items())))


def require_distinct_ids(sources: Mapping[str, Sequence[Prompt]]) -> dict[str, Sequence[Prompt]]:
    """Return the sources as they are. Raises ValueError when two of them have a prompt of the same id, by which samples
    are grouped."""
    owner: dict[str, str] = {}
    for name, prompts in sources.items():
        for prompt in prompts:
            if owner.setdefault(prompt.id, name) != name:
                raise ValueError(
                    f"data: '{owner[prompt.id]}' and '{name}' both have a prompt '{prompt.id}'; rename ids"
                )
    return dict(sources)


class Mixture(Generic[Item]):
    """An endless seeded stream over several sources, each in its own order (`Curriculum`) or by recent results (`PassRates`),
    by weight."""

    def __init__(
        self,
        sources: Mapping[str, Sequence[Item]],
        shares: Mapping[str, float],
        seed: int,
        order: Order = "shuffled",
    ) -> None:
        kind = PassRates if order == "pass_rate" else Curriculum
        # One seed for all: a source keeps its order whatever others it is mixed with.
        self.parts: dict[str, Curriculum[Item] | PassRates[Item]] = {
            name: kind(items, seed) for name, items in sources.items()
        }
        self.shares = dict(shares)
        self.draws = dict.fromkeys(sources, 0)
        """{source: prompts drawn from it so far}."""

    def __len__(self) -> int:
        """Return the draws of one epoch."""
        return epoch({name: len(part.prompts) for name, part in self.parts.items()}, self.shares)

    def draw(self, count: int) -> list[Item]:
        """Return the next `count` items, source by source."""
        draws = apportion(count, self.shares, self.draws)
        self.draws = {name: self.draws[name] + draws[name] for name in draws}
        return [item for name, part in self.parts.items() for item in part.draw(draws[name])]

    def observe(self, results: Mapping[str, Sequence[float]]) -> None:
        """Tell every source what the samples of its drawn prompts earned, each from 0 to 1: {prompt's id: successes}."""
        for part in self.parts.values():
            part.observe(results)

    @property
    def rates(self) -> dict[str, tuple[Rates, list[str]]]:
        """Pass rates of the sources that are drawn by results, beside `state`: {source: (rates, ids of prompts under way)}."""
        parts = {name: part for name, part in self.parts.items() if isinstance(part, PassRates)}
        return {name: (dict(part.rates), sorted(part.waiting)) for name, part in parts.items()}

    @rates.setter
    def rates(self, rates: Mapping[str, tuple[Rates, Sequence[str]]]) -> None:
        for name, part in self.parts.items():
            if isinstance(part, PassRates) and name in rates:
                part.rates, part.waiting = dict(rates[name][0]), set(rates[name][1])

    @property
    def state(self) -> dict[str, list[int]]:
        """The whole state: {source: [draws, position in its stream]}. They differ where a draw passed over a prompt."""
        return {name: [self.draws[name], part.position] for name, part in self.parts.items()}

    @state.setter
    def state(self, state: Mapping[str, Sequence[int]]) -> None:
        for name, (draws, position) in state.items():
            self.draws[name], self.parts[name].position = draws, position
