"""Knights and knaves: everyone named and told right, by the statements that end the response."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from rewards.answers import BOXED, corrected, held
from rewards.contract import Case
from rewards.verifiers.text import answer_text
from rl.types import Prompt, Rollout, Verdict

_MARKUP = re.compile(r"[*_`$]|\\text(?:bf)?\{|\\boxed\{|\}")
_IS = r"\s*(?:is|are|was|were|:|=|->|→|[-–—])\s*(?:both|all|each)?\s*(?P<no>not\s+)?(?:an?\s+)?"
_KIND = r"(?P<kind>knight|knave)s?\b"
_NUMBERED = r"(?:\(?\d{1,2}[).]\s{0,3})?"
_NAME = re.compile(r"\(\d+\)\s*(\w+)\s+is\s+a\s+(knight|knave)")


def verify(prompt: Prompt, rollout: Rollout, *, partial: bool = False) -> Verdict:
    """1.0 where the last lines that state them (those in <answer> tags, if there are any) call everyone what the gold
    calls them, and nobody both; what is denied or taken back does not count. With `partial` the share. `prompt.fields` gives `names` and `solution` (true: knight),
    or the answer does, as "(1) Zoey is a knave". Raises ValueError without either."""
    gold = _gold(prompt)
    said = stated(answer_text(rollout.response), tuple(gold))
    right = sum(said.get(name.casefold()) == {knight} for name, knight in gold.items())
    share = right / len(gold)
    wrong = [name for name, knight in gold.items() if said.get(name.casefold()) != {knight}]
    score = share if partial else float(not wrong)
    reason = f"{', '.join(wrong)}: not told right" if wrong else ""
    return Verdict(score, {"right": share}, reason=reason, read=_told(gold, said))


def stated(text: str, names: Sequence[str]) -> Mapping[str, set[bool]]:
    """What the last unbroken run of lines with statements calls each of the names (in lower case; true: knight). After
    a correction ("no, wait: …") the earlier ones hold for those whom it does not name."""
    anyone = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    together = rf"(?P<who>\b(?:{anyone})\b(?:\s*(?:,\s*and\b|,|\band\b|&)\s*(?:{anyone})\b){{0,15}})"
    statement = re.compile(together + _IS + _KIND, re.IGNORECASE)
    one = _NUMBERED + re.sub(r"\?P<\w+>", "?:", statement.pattern)
    atom = rf"{BOXED}|(?i:{one}(?:(?:[\s,;.*-]|\band\b)*{one})*)"
    text = held(text, atom)
    rest = corrected(text, atom)
    said = _last_run(rest, statement, anyone)
    return {**_last_run(text.removesuffix(rest), statement, anyone), **said} if said else said


def _told(names: Iterable[str], said: Mapping[str, set[bool]]) -> str:
    """What each of the names is called, in their order; empty where nobody is called anything."""
    kinds = {name: said.get(name.casefold(), set[bool]()) for name in names}
    called = {
        name: " or ".join("knight" if kind else "knave" for kind in sorted(found)) for name, found in kinds.items()
    }
    return ", ".join(f"{name}: {kind or '?'}" for name, kind in called.items()) if any(called.values()) else ""


def _last_run(text: str, statement: re.Pattern[str], anyone: str) -> dict[str, set[bool]]:
    said: dict[str, set[bool]] = {}
    for line in reversed(_MARKUP.sub("", text).splitlines()):
        found = list(statement.finditer(line))
        if said and not found and line.strip():
            break
        for match in found:
            knight = (match["kind"].lower() == "knight") != bool(match["no"])
            for name in re.findall(rf"\b(?:{anyone})\b", match["who"], re.IGNORECASE):
                said.setdefault(name.casefold(), set()).add(knight)
    return said


def _gold(prompt: Prompt) -> dict[str, bool]:
    names, solution = prompt.fields.get("names"), prompt.fields.get("solution")
    if names is not None and solution is not None:
        values = cast(Sequence[Any], solution)
        return {str(n): bool(value) for n, value in zip(cast(Sequence[Any], names), values, strict=True)}
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
