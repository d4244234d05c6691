"""How the listening tasks ask: short questions (every byte is a token to a tiny model), chains that name what was
measured, answers that are equally often right, and the same in multiple choice.

A chain such as `a 220Hz b 440Hz second higher` gives each clip's quantity on a coarse grid and concludes.

A model's first chains are of several manners, and MGRD (Step-Audio-R1, arXiv 2511.15848) is about which of them it
keeps. `chains: {measured: 0.3, asked: 0.2, surrogate: 0.3, empty: 0.1, denial: 0.1}` gives a warm start that has them all.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, TypeVar

from rl.config import ConfigError, did_you_mean
from rl.types import AUDIO_PATCH, Clip, Demonstration, Message, Prompt

if TYPE_CHECKING:
    from rl.data.tasks.questions import Chains

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something measured of a clip that two clips can be compared by."""

    more: str
    less: str
    show: Callable[[float], str]
    """Its value on a coarse grid, as a chain names it."""
    differ: Callable[[float, float], bool]
    """Whether two values are apart by the margin that makes a question fair."""
    bin: Callable[[float], int]
    """A finer grid, for labels of encoder pretraining."""


def _to(step: float) -> Callable[[float], float]:
    return lambda value: round(value / step) * step


def _ratio(least: float) -> Callable[[float, float], bool]:
    return lambda a, b: max(a, b) >= least * min(a, b) > 0


def _log_bin(step: float, low: float, high: float) -> Callable[[float], int]:
    """Bins a factor of `step` wide; what lies outside [low, high] goes to the outermost."""
    return lambda value: round(math.log(min(max(value, low), high) / low) / math.log(step))


def _kilohertz(value: float) -> str:
    return f"{value / 1000:.{1 if value >= 300 else 2}f}k"


def _hertz(value: float) -> str:
    return f"{_to(5 if value < 100 else 10)(value):.0f}Hz"


QUANTITIES: dict[str, Quantity] = {
    "pitch": Quantity("higher", "lower", _hertz, _ratio(2 ** (2 / 12)), _log_bin(2 ** (1 / 12), 60, 1000)),
    "loudness": Quantity(
        "louder",
        "softer",
        lambda db: f"{_to(2)(db):.0f}dB",
        lambda a, b: abs(a - b) >= 3,
        lambda db: round(min(max(db, -60.0), -6.0) / 2),
    ),
    "duration": Quantity(
        "longer",
        "shorter",
        lambda s: f"{_to(0.05)(s):.2f}".rstrip("0").rstrip(".") + "s",
        _ratio(1.2),
        _log_bin(1.1, 0.1, 8),
    ),
    "brightness": Quantity("brighter", "darker", _kilohertz, _ratio(1.25), _log_bin(1.1, 100, 7000)),
    "rate": Quantity("faster", "slower", lambda r: f"{_to(0.5)(r):g}/s", _ratio(1.2), _log_bin(1.1, 0.5, 12)),
}
"""By name; pitch in Hz (margin: 2 semitones), loudness in dBFS (3 dB), duration in s (20 %), brightness is the spectral
centroid in Hz (25 %), rate in events per second (20 %)."""
COMPARISONS = {quantity.more: name for name, quantity in QUANTITIES.items()}
"""Kind of question about two clips -> the quantity; `higher` asks for the lower one just as often."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question on clips that are yet to be attached."""

    id: str
    kind: str
    text: str
    answer: str
    chain: str
    choices: tuple[str, ...]
    """What the answer may be, for multiple choice."""
    attributes: tuple[Mapping[str, Any], ...]
    """Of each clip: what the answer rests on, as measured or made."""
    labels: Mapping[str, str] | None = None


def comparable(quantity: str, a: float | None, b: float | None) -> bool:
    """Whether the two are apart by the margin, and so on the chain's grid too."""
    q = QUANTITIES[quantity]
    return a is not None and b is not None and q.differ(a, b) and q.show(a) != q.show(b)


def swapped(ordinal: int, first: float, second: float) -> bool:
    """Whether the `ordinal`th question of a comparison must swap its two clips, so that `first` and `second` are right
    in turn, whichever of the two the question asks for."""
    asks_more, answers_first = ordinal // 2 % 2 == 0, ordinal % 2 == 0
    return (first > second) != (asks_more == answers_first)


def comparison(
    kind: str, ordinal: int, ids: Sequence[str], values: Sequence[float], named: Sequence[str] = ()
) -> Question:
    """`which is higher?` or `which is lower?` of clips a and b, which `swapped` has put in order. `named` is how the
    chain gives the values, where that is not simply their place on the grid."""
    quantity, q = COMPARISONS[kind], QUANTITIES[COMPARISONS[kind]]
    a, b = named or [q.show(value) for value in values]
    word = q.more if ordinal // 2 % 2 == 0 else q.less
    answer = "first" if (values[0] > values[1]) == (word == q.more) else "second"
    return Question(
        id=f"{word}/{'/'.join(ids)}",
        kind=kind,
        text=f"which is {word}?",
        answer=answer,
        chain=f"a {a} b {b} {answer} {word}",
        choices=("first", "second"),
        attributes=tuple({quantity: value} for value in values),
    )


def prompt(
    question: Question, clips: Sequence[Clip], ordinal: int, multiple_choice: float, chains: Chains | None = None
) -> Prompt:
    """The prompt, demonstrated with a chain of what was measured or as `chains` have it; a share `multiple_choice` of
    them has up to four lettered options in random order, the right one in
    each place equally often, and answers with its letter."""
    text, answer = question.text, question.answer
    fields: dict[str, Any] = {"kind": question.kind, "attributes": list(question.attributes)}
    if question.labels is not None:
        fields["labels"] = dict(question.labels)
    random = Random(f"options/{question.id}")
    if random.random() < multiple_choice and len(question.choices) > 1:
        others = [choice for choice in question.choices if choice != answer]
        options = random.sample(others, min(3, len(others)))
        place = ordinal // len(question.choices) % (len(options) + 1)
        options.insert(place, answer)
        text += "".join(f"\n{letter}. {o}" for letter, o in zip(string.ascii_uppercase, options, strict=False))
        fields["options"], answer = options, string.ascii_uppercase[place]
    demonstration = Demonstration(question.chain, answer)
    if chains is not None:
        text, demonstration = chains.demonstrated(question, text, answer, fields.get("options", ()))
    return Prompt(
        id=question.id,
        messages=(Message("user", AUDIO_PATCH * len(clips) + text),),
        answer=answer,
        source=question.kind,
        clips=tuple(clips),
        demonstration=demonstration,
        fields=fields,
    )


def check_kinds(kinds: Iterable[str], known: Iterable[str], place: str) -> None:
    """Raises ConfigError for a kind that is not known."""
    for kind in kinds:
        if kind not in known:
            raise ConfigError(f"{place}.kinds: no kind '{kind}'{did_you_mean(kind, known)}")


def check_share(value: float, place: str) -> None:
    """Raises ConfigError for a share that is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{place}: {value:g} is no share; use 0 to 1")


def in_turn(series: Iterable[Iterable[T]]) -> Iterator[T]:
    """One of each series after the other, so that any head of the whole is as mixed as the whole."""
    missing = object()
    for row in zip_longest(*series, fillvalue=missing):
        yield from (item for item in row if item is not missing)  # type: ignore[misc]


SURROGATES = ("the text says {}", "the transcript reads {}", "the words say {}")
"""Textual surrogates: they reason from a text that nobody was given."""


DENIALS = (("i cannot hear audio", "i am a text model"), ("no audio was provided", "please send a transcript"))
"""(chain, answer) of a model that takes itself for one of text only."""


MANNERS = {
    "measured": "names what is heard, in numbers",
    "asked": "the same, and the question ends with `ask`",
    "surrogate": "reasons from an imagined text",
    "misled": "the same, and the text says anything: so does the answer",
    "empty": "no chain, the answer at once",
    "denial": "claims not to hear",
}


@dataclass(frozen=True)
class Chains:
    """Shares of the manners; all `measured` by default."""

    shares: Mapping[str, float]
    ask: str | None

    @classmethod
    def of(cls, shares: Mapping[str, float] | None, ask: str | None, place: str) -> Chains:
        """Raises ConfigError."""
        for name, share in (shares or {}).items():
            if name not in MANNERS:
                raise ConfigError(f"{place}.chains: unknown key '{name}'{did_you_mean(name, MANNERS)}")
            if not 0 <= share <= 1:
                raise ConfigError(f"{place}.chains.{name}: {share:g} is no share; use 0 to 1")
        if shares is not None and not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
            raise ConfigError(f"{place}.chains: the shares sum to {sum(shares.values()):g}; make that 1")
        if bool((shares or {}).get("asked")) != bool(ask):
            raise ConfigError(f"{place}.ask: what a share `asked` of the questions ends with; give both or none")
        return cls(shares or {"measured": 1.0}, ask)

    def demonstrated(
        self, question: Question, text: str, answer: str, options: Sequence[str] = ()
    ) -> tuple[str, Demonstration]:
        """(the question's text, how it is answered); `answer` is the letter of one of `options`, where there are any.
        The same question is always answered in the same manner."""
        random = Random(f"chains/{question.id}")
        (manner,) = random.choices(list(self.shares), list(self.shares.values()))
        if manner == "asked":
            text = f"{text}\n{self.ask}"
        if manner == "denial":
            return text, Demonstration(*random.choice(DENIALS))
        said = question.answer
        if manner == "misled":
            said = random.choice(options or question.choices)
            answer = ascii_uppercase[options.index(said)] if options else said
        imagined = random.choice(SURROGATES).format(said)
        chain = {"surrogate": imagined, "misled": imagined, "empty": ""}
        return text, Demonstration(chain.get(manner, question.chain), answer)
