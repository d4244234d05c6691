"""Read the claims of a chain of thought about sound, from "the second clip is clearly higher" to
`a 220Hz b 440Hz second higher`.

A sentence is read from left to right while three things are remembered: which sound it speaks of, which quantity, and
whether it denies. Questions, doubts, suppositions ("whether the second is louder?") and quotations claim nothing.
"""

from __future__ import annotations

import re

from rewards.grounding.claim import Claim
from rewards.grounding.lexicon import GENERIC, OF_UNIT, ORDINALS, STAGES, TIMES, tokenize
from rewards.grounding.sentences import claiming_sentences, find_ends, remove_quotations
from rewards.grounding.sequence import order_claims, owner_after, part_of

_AFTER_NARRATIVE_FIRST = ("i", "we", "you", "there", "it", "comes", "a", "an", ",")
_COUNT_UP = re.compile(r"1(?:[ ,]+\d{1,9})*")  # Python reads no integer of over 4300 digits


def read_claims(chain: str) -> list[Claim]:
    """Return the claims of a chain, each once, in order."""
    text = remove_quotations(chain.replace("İ", "i").lower())  # "İ" alone grows in lower case, which would shift ends
    if _COUNT_UP.fullmatch(text.strip()):  # `1 2 3`, how the listening tasks count beats
        numbers = [int(n) for n in re.findall(r"\d+", text)]
        if numbers == list(range(1, len(numbers) + 1)):
            values = len(numbers), len(numbers)
            return [Claim("count", "beats", values=values, text=text.strip(), end=len(text.rstrip()))]
    claims: dict[Claim, None] = {}  # a set that keeps its order
    for start, sentence in claiming_sentences(text):
        claims |= dict.fromkeys(_Reader(sentence, start).claims)
    return list(claims)


class _Reader:
    """A reader of one sentence, in lower case; `claims` are what it read."""

    def __init__(self, sentence: str, start: int) -> None:
        self.sentence = " ".join(sentence.split())[:120]  # for reasons, which are a line
        self.tokens = tokenize(sentence)
        self.ends = find_ends(sentence, start, [token.text for token in self.tokens])
        self.subject: int | None = None
        self.reference: int | None = None
        """The sound named by an earlier "compared with"."""
        self.owner: int | None = None
        """The sound that numbers are about where it is not the subject: "against the first at 220 Hz"."""
        self.quantity: str | None = None
        self.denied = False
        self.thing = ""
        self.at = 0
        """Index of the token that is being read."""
        self.earlier_kinds: set[str] = set()
        """Kinds of the tokens before it."""
        self.last_stage = max((i for i, token in enumerate(self.tokens) if token.text in STAGES), default=-1)
        self.placed_claims: list[tuple[int, Claim]] = []
        """The claims, each with the index of the token that it was read at."""
        self.unitless: list[tuple[int, float, int | None, str | None]] = []
        """(token, number, subject, quantity) of numbers without a unit."""
        readers = {
            "number": self._read_number, "range": self._read_range, "level": self._read_level,
            "more": self._read_comparative, "most": self._read_superlative, "trend": self._read_trend,
            "same": self._read_same, "cardinal": self._read_count, "unpitched": self._read_unpitched,
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
                self._read_noun(i)
            elif token.kind == "subject":
                self._read_name(i, token.value)
            elif token.kind in readers:
                readers[token.kind](i, token.value)
            self.earlier_kinds.add(token.kind)
        self._resolve_unitless()
        self.claims = order_claims(self.tokens, self.placed_claims)

    def _is(self, i: int, kind: str) -> bool:
        return 0 <= i < len(self.tokens) and self.tokens[i].kind == kind

    def _add(
        self,
        kind: str,
        quantity: str,
        subject: int | None = None,
        *,
        sign: int = 0,
        values: tuple[float, float] | None = None,
        rounding: float = 0.0,
        bound: str = "about",
        reference: int | None = None,
    ) -> None:
        subject = self.subject if subject is None else subject
        claim = Claim(
            kind, quantity, sign, values, rounding, bound, subject, reference,
            thing=self.thing, denied=self.denied, text=self.sentence, end=self.ends[self.at],
        )  # fmt: skip
        self.placed_claims.append((self.at, claim))

    def _read_name(self, i: int, subject: int) -> None:
        if self._is(i - 1, "than") or self._is(i - 1, "versus") or self._is(i - 2, "versus"):
            self.reference = self.owner = subject
        elif not self._tells_when(i):
            self.subject, self.thing = subject, ""

    def _tells_when(self, i: int) -> bool:
        """Return True for an ordinal of time: "First, …", "first I hear", "the first 0.1 s", "the second half"."""
        word = self.tokens[i].text
        after = self.tokens[i + 1] if i + 1 < len(self.tokens) else None
        if word not in ORDINALS or after is None:
            return False
        if after.text in TIMES or part_of(self.tokens, i):
            return True
        if word != "first" or (i and self.tokens[i - 1].text in ("the", "this", "that")):
            return False
        before_then = i < self.last_stage and after.kind != "is"  # "first low, then high"
        return after.text in _AFTER_NARRATIVE_FIRST or before_then

    def _read_noun(self, i: int) -> None:
        """Remember a thing that the sentence is about: "The dog is", "the bell's pitch"."""
        word = self.tokens[i].text
        owns = word.endswith("'s") and self._is(i + 1, "quantity")
        is_subject = self._is(i + 1, "is") and i > 0 and self.tokens[i - 1].text in ("the", "a", "an")
        noun = word.removesuffix("'s")
        if (owns or is_subject) and noun not in GENERIC:
            self.thing = noun

    def _quantity_after(self, i: int, reach: int = 3) -> str | None:
        """Return the quantity named after an adjective at i: "higher in pitch", "low volume"."""
        for token in self.tokens[i + 1 : i + 1 + reach]:
            if token.kind == "quantity":
                return token.value
            if token.kind not in ("word", "level"):
                return None
        return None

    def _quantity_of(self, i: int, quantity: str | None) -> str | None:
        """Return the quantity of the adjective at i; None where it is not measured, or one of two ("high or low")."""
        if self._quantity_after(i, 2) == "elsewhere" or self._is(i - 1, "or") or self._is(i + 1, "or"):
            return None
        quantity = quantity or self._quantity_after(i) or self.quantity or "pitch"
        return None if quantity == "elsewhere" else quantity

    def _read_number(self, i: int, value: tuple[float, str | None]) -> None:
        number, unit = value
        if unit is None:
            if not self._read_count(i, number) and (self._is(i - 1, "subject") or self._is(i - 1, "quantity")):
                self.unitless.append((i, number, self.subject, self.quantity))
            return
        quantity = self._quantity_of_unit(unit)
        # "at 0.3 s", "from 0.1 s to 0.4 s" are moments and not lengths.
        moments = ("at", "from", "to") if "from" in self.earlier_kinds else ("at",)
        is_moment = quantity == "duration" and (
            part_of(self.tokens, i - 1) or any(self._is(i - 1, kind) for kind in moments)
        )
        owner = owner_after(self.tokens, i, self.owner)
        is_other = self._is(i - 1, "versus") and owner == self.owner  # after "versus" it is the other sound's
        if quantity is None or is_moment or self._is_difference(i) or is_other:
            return
        bound = next((kind for kind in ("above", "below") if self._is(i - 1, kind)), "about")
        decimals = re.match(r"-?[\d,]*\.(\d+)", self.tokens[i].text)
        rounding = 0.5 * 10.0 ** -len(decimals[1]) * (1000 if unit in ("k", "khz") else 1) if decimals else 0.0
        self._add("value", quantity, owner, values=(number, number), bound=bound, rounding=rounding)

    def _is_difference(self, i: int) -> bool:
        """Return True for the number of a comparison: "220 Hz higher", "louder by about 3 dB"."""
        by = [token.text for token in self.tokens[max(0, i - 2) : i]]
        return self._is(i + 1, "more") or by[-1:] == ["by"] or (by[:1] == ["by"] and self._is(i - 1, "word"))

    def _quantity_of_unit(self, unit: str) -> str | None:
        quantity = OF_UNIT[unit]
        if quantity == "pitch" and self.quantity in ("brightness", "elsewhere"):
            return "brightness" if self.quantity == "brightness" else None
        return None if self.quantity == "elsewhere" else quantity

    def _read_range(self, i: int, value: tuple[float, float, str]) -> None:
        low, high, unit = value
        quantity = self._quantity_of_unit(unit)
        if quantity is None or (quantity == "duration" and (self._is(i - 1, "from") or self._is(i - 1, "at"))):
            return
        moves = self._is(i - 1, "from") or "trend" in self.earlier_kinds  # "rises from 200 to 400 Hz"
        if quantity == "pitch" and (moves or low > high):
            self._add("ends", "pitch", values=(low, high))
        else:
            self._add("value", quantity, values=(min(low, high), max(low, high)))

    def _read_count(self, i: int, number: float) -> bool:
        """Read a number of sounds, "three loud beats"; return True where it was one."""
        for j, token in enumerate(self.tokens[i + 1 : i + 4], i + 1):
            if token.kind == "count":
                single = self.tokens[i].text == "one" and self._is(j + 1, "is")  # "one tone is higher" counts nothing
                if not single and not self._is(i - 1, "subject"):
                    bound = next((kind for kind in ("above", "below") if self._is(i - 1, kind)), "about")
                    self._add("count", token.value, values=(number, number), bound=bound)
                return True
            if token.kind not in ("word", "level", "trend") or token.text == "of":
                return False
        return False

    def _read_level(self, i: int, value: tuple[str | None, int]) -> None:
        quantity, sign = self._quantity_of(i, value[0]), value[1]
        is_unit = quantity == "duration" and (self._is(i - 1, "number") or self._is(i - 1, "range"))
        if quantity is None or is_unit or self._is(i - 1, "become"):
            return  # "0.5 s long"; "gets loud" says nothing of the whole
        degree = self.tokens[i - 1].text if i else ""
        if degree in ("least", "most"):
            self._read_superlative(i, (value[0], -sign if degree == "least" else sign))
        elif self._is(i - 1, "as") or (i and self.tokens[i - 1].text == "equally"):
            reference = self._compared_with(i, "as")
            if self.denied:  # "not as loud as" is softer
                self.denied = False
                self._add("compare", quantity, sign=-sign, reference=reference)
            else:
                self._add("same", quantity, reference=reference)
        elif self._is(i - 1, "less") or self._is(i - 1, "more"):
            self._compare(i, quantity, -sign if self._is(i - 1, "less") else sign)
        else:
            self._add("level", quantity, self._subject_of(i), sign=sign)

    def _subject_of(self, i: int) -> int | None:
        """Return the sound that the adjective at i is about: the subject, or a name after it ("the louder second tone",
        "the higher is clip 2")."""
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
        """Return the sound named after `than`, else after an earlier "compared with"."""
        for j in range(i + 1, min(i + 8, len(self.tokens))):
            if self.tokens[j].kind in (word, "versus"):
                names = [token for token in self.tokens[j + 1 : j + 6] if token.kind in ("subject", "other")]
                return names[0].value if names and names[0].kind == "subject" else None
        return self.reference

    def _read_comparative(self, i: int, value: tuple[str | None, int]) -> None:
        quantity = self._quantity_of(i, value[0])
        if quantity is not None:
            self._compare(i, quantity, -value[1] if self._is(i - 1, "less") else value[1])

    def _compare(self, i: int, quantity: str, sign: int) -> None:
        rest = self.tokens[i + 1 : i + 8]
        than = next((j for j, token in enumerate(rest) if token.kind == "than"), None)
        names_sound = than is not None and any(
            t.kind in ("subject", "other") or t.text in ("it", "that") for t in rest[than + 1 :]
        )
        if than is not None and not names_sound:
            return  # "than average", "than expected"
        if than is None and self._is(i - 1, "become"):
            self._add("trend", quantity, sign=sign)
            return
        subject, reference = self._subject_of(i), self._compared_with(i)
        if (subject is not None or reference is not None) and subject != reference:
            self._add("compare", quantity, subject, sign=sign, reference=reference)

    def _read_superlative(self, i: int, value: tuple[str | None, int]) -> None:
        quantity, subject = self._quantity_of(i, value[0]), self._subject_of(i)
        if quantity is not None and subject is not None:
            self._add("extreme", quantity, subject, sign=value[1])

    def _read_trend(self, i: int, value: tuple[str | None, int]) -> None:
        quantity = value[0] or self._quantity_after(i) or self.quantity
        hertz = self._is(i + 1, "number") and (self.tokens[i + 1].value[1] or "").endswith("hz")
        if value[1] == 0 and quantity not in ("pitch", "loudness") and not hertz:
            return  # "a steady beat", "a constant hum"
        quantity = quantity or "pitch"
        names = [token.value for token in self.tokens[i + 1 : i + 8] if token.kind == "subject"]
        if len(names) == 2 and self._is(i + 1, "from"):  # "rises from the first to the second"
            self._add("compare", quantity, names[1], sign=value[1], reference=names[0])
        elif quantity in ("pitch", "loudness") and not self._is(i - 1, "or") and not self._is(i + 1, "or"):
            self._add("trend", quantity, sign=value[1])

    def _read_same(self, i: int, _: object) -> None:
        quantity = self._quantity_after(i)
        if quantity not in (None, "elsewhere"):
            self._add("same", str(quantity), reference=self._compared_with(i, "as"))

    def _read_unpitched(self, i: int, _: object) -> None:
        self._add("unpitched", "pitch")

    def _resolve_unitless(self) -> None:
        """Give numbers without a unit the quantity that the sentence names or compares by: `a 220 b 440 b higher`."""
        comparing = ("compare", "extreme", "trend")
        quantities = [claim.quantity for _, claim in self.placed_claims if claim.kind in comparing]
        for at, number, subject, quantity in self.unitless:
            self.at = at
            quantity = quantity or (quantities[0] if quantities else None)
            if quantity not in (None, "elsewhere"):
                # `1.2` of brightness is in kHz
                number *= 1000 if quantity == "brightness" and number < 20 else 1
                self._add("value", str(quantity), subject, values=(number, number))
