"""What demonstrations of the listening tasks reason with: what was measured, or less than that.

A model's first chains are of several kinds, and MGRD (Step-Audio-R1, arXiv 2511.15848) is about which of them it keeps.
`chains: {measured: 0.3, asked: 0.2, surrogate: 0.3, empty: 0.1, denial: 0.1}` gives a warm start that has them all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import ascii_uppercase

from rl.config import ConfigError, did_you_mean
from rl.data.tasks.questions import Question
from rl.types import Demonstration

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
