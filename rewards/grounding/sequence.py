"""Order the claims of a sentence that speaks of one sound, or one moment, after another.

`220Hz 330Hz 440Hz`, "a low tone, then a high one", "low at the start and high at the end": such claims are not about the
same thing, so each gets its `place` among its like, or its `moment` in the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewards.grounding.claim import Claim
from rewards.grounding.lexicon import MOMENTS, OF_UNIT, STAGES, TIMES, Token

PlacedClaims = Sequence[tuple[int, Claim]]
"""Claims, each with the index of the token that it was read at."""

_CLAIMING = ("number", "range", "level", "more", "most", "trend", "count", "same", "unpitched")
_DURING = ("in", "within", "during", "over", "for", "throughout")


def order_claims(tokens: Sequence[Token], placed_claims: PlacedClaims) -> list[Claim]:
    """Return the claims of one sentence in order, with their places and moments."""
    moments = _moments(tokens)
    claims = [replace(claim, moment=moments[at]) if moments[at] else claim for at, claim in placed_claims]
    sweep_ends: set[int] = set()
    for row in _rows(tokens, placed_claims):
        first, last = claims[row[0]], claims[row[-1]]
        sweep = any(token.kind == "to" for token in tokens[placed_claims[row[0]][0] : placed_claims[row[-1]][0]])
        # `110Hz to 440Hz` is one sweep, not two sounds.
        if sweep and len(row) == 2 and first.quantity == "pitch" and first.values and last.values:
            ends = first.values[0], last.values[0]
            claims[row[0]] = Claim("ends", "pitch", values=ends, thing=first.thing, text=first.text, end=last.end)
            sweep_ends.add(row[1])
        else:
            for place, j in enumerate(row):
                claims[j] = replace(claims[j], place=(place, len(row)))
    _place_stages(tokens, placed_claims, claims)
    return [claim for j, claim in enumerate(claims) if j not in sweep_ends]


def _rows(tokens: Sequence[Token], placed_claims: PlacedClaims) -> list[list[int]]:
    """Return the rows of values, as indices of claims: no names, and nothing between them but a stop or "to"."""
    numbers = [i for i, token in enumerate(tokens) if token.kind == "number"]
    previous = dict(zip(numbers[1:], numbers, strict=False))
    rows: list[list[int]] = []
    for j, (at, claim) in enumerate(placed_claims):
        if claim.kind != "value" or claim.subject is not None or tokens[at].kind != "number":
            continue
        # Words between two numbers make them separate claims, not a row.
        between = {token.kind for token in tokens[previous.get(at, -1) + 1 : at]}
        alike = bool(rows) and placed_claims[rows[-1][-1]][1].quantity == claim.quantity
        if alike and between <= {"stop", "to"}:
            rows[-1].append(j)
        else:
            rows.append([j])
    return [row for row in rows if len(row) > 1]


def _moments(tokens: Sequence[Token]) -> list[str]:
    """Return the moment of each token: the one that its clause names, or a clause before it that names nothing else ("at
    the start, it is low")."""
    moments: list[str] = []
    clause: list[Token] = []
    clause_moments: set[str] = set()
    inherited_moment = ""
    for i, token in enumerate((*tokens, Token("stop", ""))):
        clause.append(token)
        clause_moments |= {MOMENTS.get(token.text, ""), part_of(tokens, i)} - {""}
        if token.kind != "stop":
            continue
        # If one clause names two moments, nothing tells which claim belongs to which.
        moment = "" if len(clause_moments) > 1 else next(iter(clause_moments), inherited_moment)
        names_only_moment = bool(clause_moments) and not any(t.kind in _CLAIMING for t in clause)
        inherited_moment = moment if names_only_moment else ""
        moments += [moment] * len(clause)
        clause, clause_moments = [], set()
    return moments


def part_of(tokens: Sequence[Token], i: int) -> str:
    """Return the part of a sound, early or late, that the ordinal at i names: "the second half", "within the first
    0.1 s"; empty where it names none."""
    if i < 0 or i + 1 >= len(tokens):
        return ""
    noun = tokens[i + 1]
    spans = noun.kind == "number" and OF_UNIT.get(noun.value[1]) == "duration"
    within = i > 1 and tokens[i - 1].text == "the" and tokens[i - 2].text in _DURING
    portion = within if spans else noun.text in TIMES - {"time", "times", "thing"}
    return {"first": "early", "second": "late", "last": "late"}.get(tokens[i].text, "") if portion else ""


def owner_after(tokens: Sequence[Token], i: int, default: int | None) -> int | None:
    """Return the sound that is named right after the number at i, "220 Hz in the first clip", "0.4 s (second)", else the
    `default`."""
    words = list(tokens[i + 1 : i + 4])
    if not words or words[0].text not in ("in", "for", "of", "on", "("):
        return default
    at = 2 if len(words) > 1 and words[1].text == "the" else 1
    if at >= len(words) or words[at].kind != "subject" or part_of(tokens, i + 1 + at):
        return default
    after = tokens[i + 2 + at].text if i + 2 + at < len(tokens) else ""
    return default if after in TIMES else words[at].value  # "for the second half", "in the first moment"


def _place_stages(tokens: Sequence[Token], placed_claims: PlacedClaims, claims: list[Claim]) -> None:
    """Place the claims before and after "then", or beside "to" ("from low to high"), on one sound after another."""
    stage_at = [0]  # of each token: how many such words stand before it
    for i, token in enumerate(tokens):
        to_level = token.kind == "to" and i + 1 < len(tokens) and tokens[i + 1].kind == "level"
        stage_at.append(stage_at[-1] + (token.text in STAGES or to_level))
    claim_stages = [
        (j, stage_at[at])
        for j, (at, claim) in enumerate(placed_claims)
        if claim.subject is None and claim.kind in ("value", "level", "trend", "count") and claims[j].place is None
    ]
    stages = sorted({stage for _, stage in claim_stages})
    if len(stages) > 1:
        for j, stage in claim_stages:
            claims[j] = replace(claims[j], place=(stages.index(stage), len(stages)))
