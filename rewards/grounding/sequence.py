"""What a sentence tells one after another: values in a row, and what is said of one moment after another.

`220Hz 330Hz 440Hz`, "a low tone, then a high one", "low at the start and high at the end": such claims do not speak of the
same thing, so each is given its `place` among its like, or the `moment` that it is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewards.grounding.claim import Claim
from rewards.grounding.lexicon import MOMENTS, OF_UNIT, STAGES, TIMES, Token

Found = Sequence[tuple[int, Claim]]
"""Claims, each with the index of the token that it was read at."""

_TELLS = ("number", "range", "level", "more", "most", "trend", "count", "same", "unpitched")
_DURING = ("in", "within", "during", "over", "for", "throughout")


def in_sequence(tokens: Sequence[Token], found: Found) -> list[Claim]:
    """The claims of one sentence in order, with their places and moments."""
    moments = _moments(tokens)
    claims = [replace(claim, moment=moments[at]) if moments[at] else claim for at, claim in found]
    swept: set[int] = set()
    for row in _rows(tokens, found):
        first, last = claims[row[0]], claims[row[-1]]
        sweep = any(token.kind == "to" for token in tokens[found[row[0]][0] : found[row[-1]][0]])
        if sweep and len(row) == 2 and first.quantity == "pitch" and first.values and last.values:
            ends = first.values[0], last.values[0]
            claims[row[0]] = Claim("ends", "pitch", values=ends, thing=first.thing, text=first.text)
            swept.add(row[1])
        else:
            for place, j in enumerate(row):
                claims[j] = replace(claims[j], place=(place, len(row)))
    _place_stages(tokens, found, claims)
    return [claim for j, claim in enumerate(claims) if j not in swept]


def _rows(tokens: Sequence[Token], found: Found) -> list[list[int]]:
    """Indices of values without a name between which nothing stands but a stop or "to"."""
    numbers = [i for i, token in enumerate(tokens) if token.kind == "number"]
    previous = dict(zip(numbers[1:], numbers, strict=False))
    rows: list[list[int]] = []
    for j, (at, claim) in enumerate(found):
        if claim.kind != "value" or claim.subject is not None or tokens[at].kind != "number":
            continue
        between = {token.kind for token in tokens[previous.get(at, -1) + 1 : at]}
        alike = bool(rows) and found[rows[-1][-1]][1].quantity == claim.quantity
        if alike and between <= {"stop", "to"}:
            rows[-1].append(j)
        else:
            rows.append([j])
    return [row for row in rows if len(row) > 1]


def _moments(tokens: Sequence[Token]) -> list[str]:
    """Of each token, when in the sound its clause is, or else a clause before it that only says when."""
    moments: list[str] = []
    clause: list[Token] = []
    named: set[str] = set()
    carried = ""
    for i, token in enumerate((*tokens, Token("stop", ""))):
        clause.append(token)
        named |= {MOMENTS.get(token.text, ""), part_of(tokens, i)} - {""}
        if token.kind != "stop":
            continue
        moment = "" if len(named) > 1 else next(iter(named), carried)
        only_when = bool(named) and not any(t.kind in _TELLS for t in clause)
        carried = moment if only_when else ""
        moments += [moment] * len(clause)
        clause, named = [], set()
    return moments


def part_of(tokens: Sequence[Token], i: int) -> str:
    """Which part of a sound the ordinal at i tells: "the second half", "within the first 0.1 s"; else nothing."""
    if i < 0 or i + 1 >= len(tokens):
        return ""
    noun = tokens[i + 1]
    spans = noun.kind == "number" and OF_UNIT.get(noun.value[1]) == "duration"
    within = i > 1 and tokens[i - 1].text == "the" and tokens[i - 2].text in _DURING
    portion = within if spans else noun.text in TIMES - {"time", "times", "thing"}
    return {"first": "early", "second": "late", "last": "late"}.get(tokens[i].text, "") if portion else ""


def _place_stages(tokens: Sequence[Token], found: Found, claims: list[Claim]) -> None:
    """What stands before and after "then", or beside "to" ("from low to high"), is of one sound after another."""
    after = [0]
    for i, token in enumerate(tokens):
        to_level = token.kind == "to" and i + 1 < len(tokens) and tokens[i + 1].kind == "level"
        after.append(after[-1] + (token.text in STAGES or to_level))
    staged = [
        (j, after[at])
        for j, (at, claim) in enumerate(found)
        if claim.subject is None and claim.kind in ("value", "level", "trend", "count") and claims[j].place is None
    ]
    stages = sorted({stage for _, stage in staged})
    if len(stages) > 1:
        for j, stage in staged:
            claims[j] = replace(claims[j], place=(stages.index(stage), len(stages)))
