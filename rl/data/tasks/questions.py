"""Word the questions of the listening tasks: short (every byte is a token to a tiny model), each answer right equally
often, and on demand as multiple choice.

A chain such as `a 220Hz b 440Hz second higher` gives each clip's quantity on a coarse grid and concludes.

A model's first chains are of several styles, and MGRD (Step-Audio-R1, arXiv 2511.15848) selects among them.
`chains: {measured: 0.3, asked: 0.2, surrogate: 0.3, empty: 0.1, denial: 0.1}` makes a warm start that has them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from random import Random
from string import ascii_uppercase
from typing import Any, TypeVar

from rl.config import ConfigError, did_you_mean
from rl.data.tasks.chain_styles import make_mistake, write_sections
from rl.types import AUDIO_PATCH, Clip, Demonstration, Message, Prompt

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measure of a clip by which two clips can be compared."""

    more_word: str
    """Comparative for the greater value, such as `higher`."""
    less_word: str
    """Comparative for the smaller value."""
    show: Callable[[float], str]
    """A function that returns the value on a coarse grid, as a chain names it."""
    differ: Callable[[float, float], bool]
    """A function that returns True for two values apart by the margin that makes a question fair."""
    bin: Callable[[float], int]
    """A function that returns the value on a finer grid, for labels of encoder pretraining."""


def _round_to(step: float) -> Callable[[float], float]:
    return lambda value: round(value / step) * step


def _differ_by_factor(factor: float) -> Callable[[float, float], bool]:
    return lambda a, b: max(a, b) >= factor * min(a, b) > 0


def _log_bin(step: float, low: float, high: float) -> Callable[[float], int]:
    """Return a function to bins a factor of `step` wide; values outside [low, high] go to the outermost."""
    return lambda value: round(math.log(min(max(value, low), high) / low) / math.log(step))


def _kilohertz(value: float) -> str:
    decimals = 1 if value >= 300 else 2
    return f"{value / 1000:.{decimals}f}k"


def _hertz(value: float) -> str:
    step = 5 if value < 100 else 10  # finer than two semitones, the margin of questions, at any pitch of speech
    return f"{_round_to(step)(value):.0f}Hz"


QUANTITIES: dict[str, Quantity] = {
    "pitch": Quantity("higher", "lower", _hertz, _differ_by_factor(2 ** (2 / 12)), _log_bin(2 ** (1 / 12), 60, 1000)),
    "loudness": Quantity(
        "louder",
        "softer",
        lambda db: f"{_round_to(2)(db):.0f}dB",
        lambda a, b: abs(a - b) >= 3,
        lambda db: round(min(max(db, -60.0), -6.0) / 2),
    ),
    "duration": Quantity(
        "longer",
        "shorter",
        lambda s: f"{_round_to(0.05)(s):.2f}".rstrip("0").rstrip(".") + "s",
        _differ_by_factor(1.2),
        _log_bin(1.1, 0.1, 8),
    ),
    "brightness": Quantity("brighter", "darker", _kilohertz, _differ_by_factor(1.25), _log_bin(1.1, 100, 7000)),
    "rate": Quantity(
        "faster", "slower", lambda r: f"{_round_to(0.5)(r):g}/s", _differ_by_factor(1.2), _log_bin(1.1, 0.5, 12)
    ),
}
"""Quantities by name: pitch in Hz (margin: 2 semitones), loudness in dBFS (3 dB), duration in s (20 %), brightness is the spectral
centroid in Hz (25 %), rate in events per second (20 %)."""
COMPARISONS = {quantity.more_word: name for name, quantity in QUANTITIES.items()}
"""Kind of question about two clips -> its quantity; `higher` asks for the lower one just as often."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question without its clips."""

    id: str
    kind: str
    text: str
    answer: str
    chain: str
    choices: tuple[str, ...]
    """Possible answers, or the words of which they are made."""
    attributes: tuple[Mapping[str, Any], ...]
    """The quantities of each clip that the answer rests on, as measured or synthesised."""
    labels: Mapping[str, str] | None = None
    """Labels of the clip for encoder pretraining, one for each head that applies."""
    description: str = ""
    """The sound in words, for a model that reads; empty where nobody has written it down."""

    @property
    def alternatives(self) -> list[str]:
        """Other answers that are possible; none where the choices are only the words of one."""
        # Beside a string of three digits, options of one digit each would give the right one away.
        return [choice for choice in self.choices if choice != self.answer] if self.answer in self.choices else []


def are_comparable(quantity: str, a: float | None, b: float | None) -> bool:
    """Return True where both values are known and differ by the margin, and on the chain's grid too."""
    q = QUANTITIES[quantity]
    # With one text for both values a chain would call one of two equal numbers the greater.
    return a is not None and b is not None and q.differ(a, b) and q.show(a) != q.show(b)


def must_swap(ordinal: int, first: float, second: float) -> bool:
    """Return True where the `ordinal`th question of a comparison must swap its two clips, so that `first` and `second`
    are right in turn, whichever of the two the question asks for."""
    # The word changes every two questions, the answer every one: all four combinations in four questions.
    asks_more, answers_first = ordinal // 2 % 2 == 0, ordinal % 2 == 0
    return (first > second) != (asks_more == answers_first)


def make_comparison(
    kind: str, ordinal: int, ids: Sequence[str], values: Sequence[float], value_names: Sequence[str] = ()
) -> Question:
    """Return `which is higher?` or `which is lower?` for clips a and b, already in the order of `must_swap`.
    `value_names` are the values as the chain gives them, where these are not simply `Quantity.show` of the values."""
    quantity, q = COMPARISONS[kind], QUANTITIES[COMPARISONS[kind]]
    a, b = value_names or [q.show(value) for value in values]
    word = q.more_word if ordinal // 2 % 2 == 0 else q.less_word
    answer = "first" if (values[0] > values[1]) == (word == q.more_word) else "second"
    return Question(
        id=f"{word}/{'/'.join(ids)}",
        kind=kind,
        text=f"which is {word}?",
        answer=answer,
        chain=f"a {a} b {b} {answer} {word}",
        choices=("first", "second"),
        attributes=tuple({quantity: value} for value in values),
    )


def make_prompt(
    question: Question,
    clips: Sequence[Clip],
    ordinal: int,
    multiple_choice: float,
    chains: Chains | None = None,
    described: bool = False,
) -> Prompt:
    """Return the prompt of a question, with a demonstration in the style that `chains` draws (None: `measured`). A share
    `multiple_choice` of the questions has up to four lettered options in random order, the right one in each place
    equally often, and is answered with its letter. With `described` the description stands in place of the clips."""
    text, answer = question.text, question.answer
    # `attributes` and `labels` become columns of samples and targets of encoder heads.
    fields: dict[str, Any] = {"kind": question.kind, "attributes": list(question.attributes)}
    if question.labels is not None:
        fields["labels"] = dict(question.labels)
    random = Random(f"options/{question.id}")  # the same question has the same options in every stage
    wrong = question.alternatives
    if random.random() < multiple_choice and wrong:
        options = random.sample(wrong, min(3, len(wrong)))
        # Answers are right in turn over `choices`: the place moves on once all of them have been.
        place = ordinal // len(question.choices) % (len(options) + 1)
        options.insert(place, answer)
        text += "".join(f"\n{letter}. {o}" for letter, o in zip(ascii_uppercase, options, strict=False))
        fields["options"], answer = options, ascii_uppercase[place]
    if question.description:
        fields["description"] = question.description
    demonstration = Demonstration(question.chain, answer)
    if chains is not None:
        text, demonstration = chains.demonstrate(question, text, answer, fields.get("options", ()))
    return Prompt(
        id=question.id,
        messages=(Message("user", f"{question.description} {text}" if described else AUDIO_PATCH * len(clips) + text),),
        answer=answer,
        source=question.kind,
        clips=() if described else tuple(clips),
        demonstration=demonstration,
        fields=fields,
    )


def check_kinds(kinds: Iterable[str], names: Iterable[str], place: str) -> None:
    """Raise ConfigError for a kind that is not among `names`."""
    for kind in kinds:
        if kind not in names:
            raise ConfigError(f"{place}.kinds: no kind '{kind}'{did_you_mean(kind, names)}")


def check_share(value: float, place: str) -> None:
    """Raise ConfigError for a share that is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{place}: {value:g} is no share; use 0 to 1")


def interleave(series: Iterable[Iterable[T]]) -> Iterator[T]:
    """Yield one item of each series in turn, so that the first items are as mixed as all of them."""
    missing = object()
    for row in zip_longest(*series, fillvalue=missing):
        yield from (item for item in row if item is not missing)  # type: ignore[misc]


SURROGATES = ("the text says {}", "the transcript reads {}", "the words say {}")
"""Textual surrogates: chains that reason from a text that does not exist."""


DENIALS = (("i cannot hear audio", "i am a text model"), ("no audio was provided", "please send a transcript"))
"""(chain, answer) of a model that takes itself for one of text only."""


CHAIN_STYLES = {
    "measured": "names what is heard, in numbers",
    "asked": "the same, and the question ends with `ask`",
    "surrogate": "reasons from an imagined text",
    "misled": "the same, with a text that may say anything, and the answer follows it",
    "mistaken": "measures, and one fact is wrong: a number, or the conclusion, which the answer follows",
    "sections": "measures in sections, <PLANNING> <CAPTION> <REASONING> <SUMMARY>, and answers in <RESPONSE>",
    "empty": "no chain, the answer at once",
    "denial": "claims not to hear",
}
"""Style of a demonstration's chain -> what it does."""
CLAIMING_STYLES = ("misled", "mistaken")
"""Styles whose chains may claim another answer than the right one."""


@dataclass(frozen=True)
class Chains:
    """Shares of the styles among demonstrations."""

    shares: Mapping[str, float]
    ask: str | None
    """Last line of the questions whose chain is `asked`."""

    @classmethod
    def build(cls, shares: Mapping[str, float] | None, ask: str | None, place: str) -> Chains:
        """Build the shares of a recipe, all `measured` by default. Raises ConfigError."""
        for name, share in (shares or {}).items():
            if name not in CHAIN_STYLES:
                raise ConfigError(f"{place}.chains: unknown key '{name}'{did_you_mean(name, CHAIN_STYLES)}")
            if not 0 <= share <= 1:
                raise ConfigError(f"{place}.chains.{name}: {share:g} is no share; use 0 to 1")
        if shares is not None and not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):  # ten times 0.1
            raise ConfigError(f"{place}.chains: the shares sum to {sum(shares.values()):g}; make that 1")
        if bool((shares or {}).get("asked")) != bool(ask):
            raise ConfigError(f"{place}.ask: it ends the questions of the share `asked` in `chains`; give both or none")
        return cls(shares or {"measured": 1.0}, ask)

    def check(self, questions: Iterable[Question], place: str) -> None:
        """Raise ConfigError where chains are to claim another answer and a kind of question has none."""
        claiming = [style for style in CLAIMING_STYLES if self.shares.get(style)]
        for question in questions if claiming else ():
            if not question.alternatives:
                raise ConfigError(
                    f"{place}.chains.{claiming[0]}: '{question.kind}' questions have no other answer to claim; remove the style, or the kind"
                )

    def demonstrate(
        self, question: Question, text: str, answer: str, options: Sequence[str] = ()
    ) -> tuple[str, Demonstration]:
        """Return the question's text and its demonstration; `answer` is the letter of one of `options`, where there are
        any. The same question always has the same style."""
        random = Random(f"chains/{question.id}")  # its own stream: shares change no options
        (style,) = random.choices(list(self.shares), list(self.shares.values()))
        if style == "asked":
            text = f"{text}\n{self.ask}"
        if style == "denial":
            return text, Demonstration(*random.choice(DENIALS))
        if style == "sections":
            return text, Demonstration(
                write_sections(question.kind, question.chain, question.answer), f"<RESPONSE>{answer}</RESPONSE>"
            )
        claim, mistake = question.answer, ""
        if style == "misled":
            claim = random.choice(options or question.choices)  # the right one too: `check` saw that there is another
        elif style == "mistaken":
            mistake, claim = make_mistake(question.chain, question.answer, options or question.choices, random)
        if claim != question.answer:
            answer = ascii_uppercase[options.index(claim)] if options else claim
        surrogate = random.choice(SURROGATES).format(claim)
        chain = {"surrogate": surrogate, "misled": surrogate, "mistaken": mistake, "empty": ""}
        return text, Demonstration(chain.get(style, question.chain), answer)
