"""What a chain of thought claims of the sounds: a reader of short sentences, from "the second clip is clearly higher"
to `a 220Hz b 440Hz second higher`.

A sentence is read from left to right with three things in mind: which sound it speaks of, which quantity, and whether
it denies. What asks, doubts or supposes ("whether the second is louder?") and what is quoted claims nothing.
"""

from __future__ import annotations

import re
from typing import Any

from rewards.grounding.claim import Claim
from rewards.grounding.lexicon import GENERIC, OF_UNIT, ORDINALS, STAGES, TIMES, tokens
from rewards.grounding.sequence import in_sequence, part_of

_QUOTED = re.compile(r"\"[^\"\n]{0,200}\"|“[^”\n]{0,200}”|\B'[^'\n]{0,80}'\B")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+|(?<![\d])\.(?!\d)")
_ASKS = re.compile(
    r"\?\s*$|^\W*(?:(?:so|now|and|ok|okay|first|next) ?,? )*(?:which|what(?! (?:stands|strikes|i |we ))|is|are|does|do|did|how|whether|if|should|can"
    r"|could|let(?:'s| me| us)|(?:i|we) (?:need to|have to|want to|must|should|will)|to (?:find|tell"
    r"|decide|determine|compare|answer)|the (?:question|task|options?|prompt|choices?|user)|options?|maybe|perhaps)\b"
    r"|\b(?:whether|suppose|supposing|imagine|would (?:have|sound|mean)|might|may be|could be|had it|were it|unclear"
    r"|hard to (?:say|tell)|which is (?:false|untrue|wrong|not (?:true|so))|at first (?:glance|sight|hearing)|not sure|in general|usually|typically|normally)\b"
)
_GOES_ON = re.compile(r"(?:[.;]|\s*\n)\s+(?=(?:then|later|afterwards|after that|finally)\b)")
"""A sentence that goes on with the one before it."""
_NARRATES = ("i", "we", "you", "there", "it", "comes", "a", "an", ",")
_COUNT_UP = re.compile(r"1(?:[ ,]+\d+)*")


def read(chain: str) -> list[Claim]:
    """The claims of a chain, each once, in order."""
    text = _QUOTED.sub(" ", chain.lower())
    if _COUNT_UP.fullmatch(text.strip()):
        numbers = [int(n) for n in re.findall(r"\d+", text)]
        if numbers == list(range(1, len(numbers) + 1)):
            return [Claim("count", "beats", values=(len(numbers), len(numbers)), text=text.strip())]
    text = _GOES_ON.sub(", ", text)
    claims: dict[Claim, None] = {}
    for sentence in _SENTENCE.split(text):
        if sentence and not _ASKS.search(sentence):
            claims |= dict.fromkeys(_Reader(sentence).claims)
    return list(claims)


class _Reader:
    """Reads the claims of one sentence, in lower case."""

    def __init__(self, sentence: str) -> None:
        self.sentence = " ".join(sentence.split())[:120]
        self.tokens = tokens(sentence)
        self.subject: int | None = None
        self.reference: int | None = None
        self.owner: int | None = None
        """Whose the numbers are where it is not the subject: "against the first at 220 Hz"."""
        self.quantity: str | None = None
        self.denied = False
        self.thing = ""
        self.at = 0
        """The token that is read."""
        self.seen: set[str] = set()
        """Kinds of the tokens before it."""
        self.last_stage = max((i for i, token in enumerate(self.tokens) if token.text in STAGES), default=-1)
        self.found: list[tuple[int, Claim]] = []
        """The claims, each with the token that it was read at."""
        self.bare: list[tuple[int, float, int | None, str | None]] = []
        """Numbers without a unit, each with its token, whose it is and of what."""
        readers = {
            "number": self._number, "range": self._range, "level": self._level, "more": self._more, "most": self._most,
            "trend": self._trend, "same": self._same, "cardinal": self._count, "unpitched": self._unpitched,
        }  # fmt: skip
        for i, token in enumerate(self.tokens):
            self.at = i
            if token.kind == "stop":
                self.denied, self.owner = False, None
            elif token.kind == "not":
                self.denied = True
            elif token.kind == "quantity":
                self.quantity = token.value
            elif token.kind == "word":
                self._thing(i)
            elif token.kind == "subject":
                self._name(i, token.value)
            elif token.kind in readers:
                readers[token.kind](i, token.value)
            self.seen.add(token.kind)
        self._resolve_bare()
        self.claims = in_sequence(self.tokens, self.found)

    def _near(self, i: int, kind: str) -> bool:
        return 0 <= i < len(self.tokens) and self.tokens[i].kind == kind

    def _add(self, kind: str, quantity: str, subject: int | None = None, **more: Any) -> None:
        subject = self.subject if subject is None else subject
        claim = Claim(kind, quantity, subject=subject, denied=self.denied, thing=self.thing, text=self.sentence, **more)
        self.found.append((self.at, claim))

    def _name(self, i: int, subject: int) -> None:
        if self._near(i - 1, "than") or self._near(i - 1, "versus") or self._near(i - 2, "versus"):
            self.reference = self.owner = subject
        elif not self._when(i):
            self.subject, self.thing = subject, ""

    def _when(self, i: int) -> bool:
        """Whether an ordinal tells when, not which: "First, …", "first I hear", "the first 0.1 s", "the second half"."""
        word = self.tokens[i].text
        after = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
        if word not in ORDINALS or after is None:
            return False
        if after.text in TIMES or part_of(self.tokens, i):
            return True
        if word != "first" or (i and self.tokens[i - 1].text in ("the", "this", "that")):
            return False
        goes_on = i < self.last_stage and after.kind != "is"
        return after.text in _NARRATES or goes_on

    def _thing(self, i: int) -> None:
        """ "The dog is", "the bell's pitch"."""
        word = self.tokens[i].text
        owns = word.endswith("'s") and self._near(i + 1, "quantity")
        is_subject = self._near(i + 1, "is") and i > 0 and self.tokens[i - 1].text in ("the", "a", "an")
        if (owns or is_subject) and (noun := word.removesuffix("'s")) not in GENERIC:
            self.thing = noun

    def _ahead(self, i: int, reach: int = 3) -> str | None:
        """The quantity that an adjective at i speaks of: "higher in pitch", "low volume"."""
        for token in self.tokens[i + 1 : i + 1 + reach]:
            if token.kind == "quantity":
                return token.value
            if token.kind not in ("word", "level"):
                return None
        return None

    def _about(self, i: int, quantity: str | None) -> str | None:
        """The quantity of the adjective at i; None where it is none that is measured."""
        if self._ahead(i, 2) == "elsewhere" or self._near(i - 1, "or") or self._near(i + 1, "or"):
            return None
        quantity = quantity or self._ahead(i) or self.quantity or "pitch"
        return None if quantity == "elsewhere" else quantity

    def _number(self, i: int, value: tuple[float, str | None]) -> None:
        number, unit = value
        if unit is None:
            if not self._count(i, number) and (self._near(i - 1, "subject") or self._near(i - 1, "quantity")):
                self.bare.append((i, number, self.subject, self.quantity))
            return
        quantity = self._of_unit(unit)
        moments = ("at", "from", "to") if "from" in self.seen else ("at",)
        timed = quantity == "duration" and (
            part_of(self.tokens, i - 1) or any(self._near(i - 1, kind) for kind in moments)
        )
        if quantity is None or timed or self._is_difference(i) or self._near(i - 1, "versus"):
            return  # a moment, a difference, or another's
        bound = next((kind for kind in ("above", "below") if self._near(i - 1, kind)), "about")
        decimals = re.match(r"-?[\d,]*\.(\d+)", self.tokens[i].text)
        rounding = 0.5 * 10.0 ** -len(decimals[1]) * (1000 if unit in ("k", "khz") else 1) if decimals else 0.0
        self._add("value", quantity, self.owner, values=(number, number), bound=bound, rounding=rounding)

    def _is_difference(self, i: int) -> bool:
        """ "220 Hz higher", "louder by about 3 dB"."""
        by = [token.text for token in self.tokens[max(0, i - 2) : i]]
        return self._near(i + 1, "more") or by[-1:] == ["by"] or (by[:1] == ["by"] and self._near(i - 1, "word"))

    def _of_unit(self, unit: str) -> str | None:
        quantity = OF_UNIT[unit]
        if quantity == "pitch" and self.quantity in ("brightness", "elsewhere"):
            return "brightness" if self.quantity == "brightness" else None
        return None if self.quantity == "elsewhere" else quantity

    def _range(self, i: int, value: tuple[float, float, str]) -> None:
        low, high, unit = value
        quantity = self._of_unit(unit)
        if quantity is None or (quantity == "duration" and (self._near(i - 1, "from") or self._near(i - 1, "at"))):
            return
        moves = self._near(i - 1, "from") or "trend" in self.seen
        if quantity == "pitch" and (moves or low > high):
            self._add("ends", "pitch", values=(low, high))
        else:
            self._add("value", quantity, values=(min(low, high), max(low, high)))

    def _count(self, i: int, number: float) -> bool:
        """ "three loud beats": whether it was one."""
        for j, token in enumerate(self.tokens[i + 1 : i + 4], i + 1):
            if token.kind == "count":
                single = self.tokens[i].text == "one" and self._near(j + 1, "is")  # one tone is higher: which?
                if not single and not self._near(i - 1, "subject"):
                    bound = next((kind for kind in ("above", "below") if self._near(i - 1, kind)), "about")
                    self._add("count", token.value, values=(number, number), bound=bound)
                return True
            if token.kind not in ("word", "level", "trend") or token.text == "of":
                return False
        return False

    def _level(self, i: int, value: tuple[str | None, int]) -> None:
        quantity, sign = self._about(i, value[0]), value[1]
        measured = quantity == "duration" and (self._near(i - 1, "number") or self._near(i - 1, "range"))
        if quantity is None or measured or self._near(i - 1, "become"):
            return  # 0.5 s long
        degree = self.tokens[i - 1].text if i else ""
        if degree in ("least", "most"):
            self._most(i, (value[0], -sign if degree == "least" else sign))
        elif self._near(i - 1, "as") or (i and self.tokens[i - 1].text == "equally"):
            other = self._compared_with(i, "as")
            if self.denied:  # not as loud as: softer
                self.denied = False
                self._add("compare", quantity, sign=-sign, other=other)
            else:
                self._add("same", quantity, other=other)
        elif self._near(i - 1, "less") or self._near(i - 1, "more"):
            self._compare(i, quantity, -sign if self._near(i - 1, "less") else sign)
        else:
            self._add("level", quantity, self._following(i), sign=sign)

    def _following(self, i: int) -> int | None:
        """Whose the adjective at i is where that is named after it: "the louder second tone", "the higher is clip 2"."""
        if self.subject is not None:
            return self.subject
        for j in range(i + 1, min(i + 9, len(self.tokens))):
            token = self.tokens[j]
            if token.kind == "subject":
                return token.value
            if token.kind in ("than", "versus", "stop", "number", "level", "more") and token.text != ":":
                return None
        return None

    def _compared_with(self, i: int, word: str = "than") -> int | None:
        """With which sound: the name after `than`, else after an earlier "compared with"."""
        for j in range(i + 1, min(i + 8, len(self.tokens))):
            if self.tokens[j].kind in (word, "versus"):
                names = [token for token in self.tokens[j + 1 : j + 6] if token.kind in ("subject", "other")]
                return names[0].value if names and names[0].kind == "subject" else None
        return self.reference

    def _more(self, i: int, value: tuple[str | None, int]) -> None:
        quantity = self._about(i, value[0])
        if quantity is not None:
            self._compare(i, quantity, -value[1] if self._near(i - 1, "less") else value[1])

    def _compare(self, i: int, quantity: str, sign: int) -> None:
        rest = self.tokens[i + 1 : i + 8]
        than = next((j for j, token in enumerate(rest) if token.kind == "than"), None)
        named = than is not None and any(
            t.kind in ("subject", "other") or t.text in ("it", "that") for t in rest[than + 1 :]
        )
        if than is not None and not named:
            return  # than average, than expected
        if than is None and self._near(i - 1, "become"):
            self._add("trend", quantity, sign=sign)
            return
        subject, other = self._following(i), self._compared_with(i)
        if (subject is not None or other is not None) and subject != other:
            self._add("compare", quantity, subject, sign=sign, other=other)

    def _most(self, i: int, value: tuple[str | None, int]) -> None:
        quantity, subject = self._about(i, value[0]), self._following(i)
        if quantity is not None and subject is not None:
            self._add("extreme", quantity, subject, sign=value[1])

    def _trend(self, i: int, value: tuple[str | None, int]) -> None:
        quantity = value[0] or self._ahead(i) or self.quantity
        hertz = self._near(i + 1, "number") and (self.tokens[i + 1].value[1] or "").endswith("hz")
        if value[1] == 0 and quantity not in ("pitch", "loudness") and not hertz:
            return  # a steady beat, a constant hum
        quantity = quantity or "pitch"
        names = [token.value for token in self.tokens[i + 1 : i + 8] if token.kind == "subject"]
        if len(names) == 2 and self._near(i + 1, "from"):  # rises from the first to the second
            self._add("compare", quantity, names[1], sign=value[1], other=names[0])
        elif quantity in ("pitch", "loudness") and not self._near(i - 1, "or") and not self._near(i + 1, "or"):
            self._add("trend", quantity, sign=value[1])

    def _same(self, i: int, _: Any) -> None:
        quantity = self._ahead(i)
        if quantity not in (None, "elsewhere"):
            self._add("same", str(quantity), other=self._compared_with(i, "as"))

    def _unpitched(self, i: int, _: Any) -> None:
        self._add("unpitched", "pitch")

    def _resolve_bare(self) -> None:
        """Numbers without a unit are of the quantity that the sentence names or compares by: `a 220 b 440 b higher`."""
        compared = [claim.quantity for _, claim in self.found if claim.kind in ("compare", "extreme", "trend")]
        for at, number, subject, quantity in self.bare:
            self.at = at
            quantity = quantity or (compared[0] if compared else None)
            if quantity not in (None, "elsewhere"):
                number *= 1000 if quantity == "brightness" and number < 20 else 1
                self._add("value", str(quantity), subject, values=(number, number))
