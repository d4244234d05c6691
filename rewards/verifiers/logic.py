"""Knights and knaves: everyone is called what they are, by the statements that end the response."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from rewards.answers.marks import BOX_ATOM
from rewards.answers.retractions import after_correction, drop_denied
from rewards.answers.texts import answer_text
from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_MARKUP = re.compile(r"[*_`$]|\\text(?:bf)?\{|\\boxed\{|\}")
_IS = r"\s*(?:is|are|was|were|:|=|->|→|[-–—])\s*(?:both|all|each)?\s*(?P<no>not\s+)?(?:an?\s+)?"
_KIND = r"(?P<kind>knight|knave)s?\b"
_LIST_NUMBER = r"(?:\(?\d{1,2}[).]\s{0,3})?"
_NAME = re.compile(r"\(\d+\)\s*(\w+)\s+is\s+a\s+(knight|knave)")


def verify(prompt: Prompt, rollout: Rollout, *, partial: bool = False) -> Verdict:
    """Score 1.0 where the last lines with statements (those in <answer> tags, if there are any) call everyone what the gold
    calls them, and nobody both; else 0.0, or with `partial` the share of people called right. A statement that is denied or
    taken back does not count. The gold is `names` and `solution` (True: knight) of `prompt.fields`, or the prompt's answer,
    as "(1) Zoey is a knave". Raises ValueError without either."""
    gold = _read_gold(prompt)
    statements = read_statements(answer_text(rollout.response), tuple(gold))
    # {True, False}, called both, is as wrong as nothing
    wrong = [name for name, is_knight in gold.items() if statements.get(name.casefold()) != {is_knight}]
    share = (len(gold) - len(wrong)) / len(gold)
    score = share if partial else float(not wrong)
    reason = f"{', '.join(wrong)}: not called right" if wrong else ""
    return Verdict(score, {"right": share}, reason=reason, read=_describe(gold, statements))


def read_statements(text: str, names: Sequence[str]) -> Mapping[str, set[bool]]:
    """Return what the last unbroken run of lines with statements calls each person: name in lower case -> {True} for a
    knight, {False} for a knave, both where it calls them both. After a correction ("no, wait: …") the earlier statements
    still hold for those whom it does not name."""
    anyone = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    # up to 16 people share one statement: "Ann, Bob and Zoey are knaves"
    together = rf"(?P<who>\b(?:{anyone})\b(?:\s*(?:,\s*and\b|,|\band\b|&)\s*(?:{anyone})\b){{0,15}})"
    statement = re.compile(together + _IS + _KIND, re.IGNORECASE)
    one = _LIST_NUMBER + re.sub(r"\?P<\w+>", "?:", statement.pattern)  # an atom has no named groups
    atom = rf"{BOX_ATOM}|(?i:{one}(?:(?:[\s,;.*-]|\band\b)*{one})*)"
    text = drop_denied(text, atom)
    correction = after_correction(text, atom)
    statements = _last_run(correction, statement, anyone)
    if not statements:
        return {}
    return {**_last_run(text.removesuffix(correction), statement, anyone), **statements}


def _describe(names: Iterable[str], statements: Mapping[str, set[bool]]) -> str:
    """Return what each of the names is called, in their order; empty where nobody is called anything."""
    kinds: dict[str, str] = {}
    for name in names:
        is_knight = sorted(statements.get(name.casefold(), ()))
        kinds[name] = " or ".join("knight" if knight else "knave" for knight in is_knight)
    return ", ".join(f"{name}: {kind or '?'}" for name, kind in kinds.items()) if any(kinds.values()) else ""


def _last_run(text: str, statement: re.Pattern[str], anyone: str) -> dict[str, set[bool]]:
    """Return what the last lines with statements say, from the end up to the first other line; blank ones are skipped."""
    statements: dict[str, set[bool]] = {}
    for line in reversed(_MARKUP.sub("", text).splitlines()):
        matches = list(statement.finditer(line))
        if statements and not matches and line.strip():
            break
        for match in matches:
            is_knight = (match["kind"].lower() == "knight") != bool(match["no"])
            for name in re.findall(rf"\b(?:{anyone})\b", match["who"], re.IGNORECASE):
                statements.setdefault(name.casefold(), set()).add(is_knight)
    return statements


def _read_gold(prompt: Prompt) -> dict[str, bool]:
    """Return name -> whether a knight. Raises ValueError for a prompt that does not say."""
    names, solution = prompt.fields.get("names"), prompt.fields.get("solution")
    if names is not None and solution is not None:
        values = cast(Sequence[object], solution)
        return {str(n): bool(value) for n, value in zip(cast(Sequence[object], names), values, strict=True)}
    gold = {name: kind == "knight" for name, kind in _NAME.findall(prompt.answer or "")}
    if not gold:
        raise ValueError(f"prompt '{prompt.id}': neither names and solution nor an answer like '(1) Zoey is a knave'")
    return gold


_TWO = "(1) Michael is a knight\n(2) Zoey is a knave"
GOLD = [
    Case(f"<think>Michael is a knave?</think>{_TWO}", _TWO),
    Case("<answer>Michael: knight, Zoey: knave</answer>", _TWO),
    Case("If Michael is a knave, we fail.\n\nSo:\n- **Michael** is a knight\n- **Zoey** is not a knight", _TWO),
    Case("Michael and Zoey are knights.", None, fields={"names": ["Michael", "Zoey"], "solution": [True, True]}),
    Case("(1) Michael is a knight\n(2) Zoey is a knight", _TWO, equal=False),
    Case("(1) Michael is a knight", _TWO, equal=False),
    Case(f"{_TWO}\n(1) Michael is a knave\n(2) Zoey is a knight", _TWO, equal=False),
    Case("Michael is a knight or Michael is a knave. Zoey is a knave.", _TWO, equal=False),
    Case("(1) Michael is a knight", _TWO, score=(0.5, 0.5), args={"partial": True}),
    Case("", _TWO, equal=False),
]
