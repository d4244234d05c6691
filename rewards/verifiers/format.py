"""Think tags: one chain, closed and not empty, with an answer after it, perhaps in ordered sections; 1 or 0, or in quarters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rewards.contract import Case
from rl.think import THINK_CLOSE, THINK_OPEN, is_blank
from rl.types import Prompt, Rollout, Verdict

_NAME = re.compile(r"[A-Za-z][\w-]{0,63}", re.ASCII)
"""The name of a section, as it stands in its tags."""


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    graded: bool = False,
    sections: list[str] | None = None,
    answer_section: str | None = None,
) -> Verdict:
    """Score 1.0 for `<think> chain </think> answer` with each tag once and neither part blank, else 0.0; with `graded` a
    quarter each for a turn that starts with its one opening tag, one closing tag, a chain, and an answer after it. Blank is
    what a reader cannot see (`rl.think.is_blank`).

    With `sections`, such as [PLANNING, CAPTION, REASONING, SUMMARY], the chain is these sections, each `<NAME> text </NAME>`
    once, in this order, and nothing beside them; with `answer_section`, such as RESPONSE, the answer is one too. Their tags
    may be in small letters or capitals; those of the chain are `<think>` and `</think>`, as whatever else reads it expects.
    `graded` then gives at most a half for the quarters and a quarter for the share of sections
    that stand whole, in their order. Raises ValueError for names that are none, or come twice."""
    names = [name.lower() for name in sections or ()]
    answer_name = (answer_section or "").lower()
    _check_names([*names, answer_name] if answer_section is not None else names)
    is_plain = not names and not answer_name
    problem = _find_problem(rollout.text) if is_plain else _find_section_problem(rollout.text, names, answer_name)
    score = 0.0
    if not problem:
        score = 1.0
    elif graded:
        score = _score_in_quarters(rollout.text)
        if not is_plain:
            share = _share_in_order(rollout.text, [*names, answer_name] if answer_name else names)
            score = score * 2 / 3 + 0.25 * share  # quarters are at most 0.75
    return Verdict(score=score, reason=problem)


def _score_in_quarters(text: str) -> float:
    opens_once = text.count(THINK_OPEN) == 1 and is_blank(text.partition(THINK_OPEN)[0])
    head, close_tag, answer = text.partition(THINK_CLOSE)
    closes_once = text.count(THINK_CLOSE) == 1
    has_chain = bool(close_tag) and not is_blank(head.replace(THINK_OPEN, ""))
    has_answer = bool(close_tag) and closes_once and not is_blank(answer)
    # at most 0.75: the quarters are looser than the whole form, and only a turn in form scores 1
    return min(0.75, 0.25 * sum((opens_once, closes_once, has_chain, has_answer)))


def _find_problem(text: str) -> str:
    """Return the first thing that is wrong with a turn's form, or "" where nothing is."""
    for tag in (THINK_OPEN, THINK_CLOSE):
        if text.count(tag) != 1:
            return f"{tag} stands {text.count(tag)} times"
    before, _, rest = text.partition(THINK_OPEN)
    chain, close_tag, answer = rest.partition(THINK_CLOSE)
    if not is_blank(before) or not close_tag:  # no close tag in the rest: it stands before the opening one
        return f"the turn does not start with {THINK_OPEN}"
    if is_blank(chain):
        return "the chain is empty"
    return "no answer after the chain" if is_blank(answer) else ""


def _check_names(names: Sequence[str]) -> None:
    """Raise ValueError for a section whose name cannot stand in a tag, comes twice, or is that of the chain itself."""
    for i, name in enumerate(names):
        if not _NAME.fullmatch(name) or name == "think":
            raise ValueError(f"format.sections: '{name}' names no section; write a word such as PLANNING")
        if name in names[:i]:
            raise ValueError(f"format.sections: '{name}' comes twice; name each section once")


def _tags(names: Sequence[str]) -> re.Pattern[str]:
    """Return the pattern of an opening or closing tag of one of the names."""
    # ASCII: without it, small letters of other alphabets (a dotless i, a long s) would count as ours
    return re.compile(rf"<(/?)({'|'.join(map(_in_any_case, names))})>", re.ASCII)


def _in_any_case(name: str) -> str:
    # `Turn.reasoning` finds no chain between capitals: such a turn would be in form, and grounding and rates see no chain.
    return name if name == "think" else f"(?i:{re.escape(name)})"


def _write_tag(slash: str, name: str) -> str:
    return f"<{slash}{name if name == 'think' else name.upper()}>"


def _find_section_problem(text: str, names: Sequence[str], answer_name: str) -> str:
    """Return the first thing that is wrong with a turn of sections, or "" where nothing is."""
    inner = [answer_name] if answer_name else []
    in_order = [("", "think"), *((slash, name) for name in names for slash in ("", "/")), ("/", "think")]
    in_order += [(slash, name) for name in inner for slash in ("", "/")]
    matches = list(_tags(["think", *names, *inner]).finditer(text))
    found = [(match[1], match[2].lower()) for match in matches]
    for slash, name in in_order:
        if (count := found.count((slash, name))) != 1:
            return f"{_write_tag(slash, name)} stands {count} times"
    if found != in_order:
        place = next(i for i, (tag, right) in enumerate(zip(found, in_order, strict=True)) if tag != right)
        tag, right = (_write_tag(*pair) for pair in (found[place], in_order[place]))
        return f"{tag} stands where {right} belongs"
    # What stands before each tag, and after the last: text belongs into sections, and nowhere else.
    edges = [0, *(match.end() for match in matches)]
    pieces = [text[start : match.start()] for start, match in zip(edges, matches, strict=False)] + [text[edges[-1] :]]
    holders = ["", *(("think" if not names else "") if tag == ("", "think") else _held_by(tag) for tag in in_order)]
    if not answer_name:
        holders[-1] = "answer"
    for piece, holder in zip(pieces, holders, strict=True):
        if holder and is_blank(piece):
            return f"{holder.upper()} is empty"
        if not holder and not is_blank(piece):
            return f"'{piece.strip()[:40]}' stands in no section"
    return ""


def _held_by(tag: tuple[str, str]) -> str:
    """Return the section whose text follows a tag; "" after a closing one."""
    slash, name = tag
    return "" if slash else name


def _share_in_order(text: str, names: Sequence[str]) -> float:
    """Return the share of the sections that stand whole, once and not blank, each after the one before."""
    tags, place, count = _tags(names), 0, 0
    for name in names:
        of_name = [match for match in tags.finditer(text) if match[2].lower() == name]
        if [match[1] for match in of_name] != ["", "/"] or of_name[0].start() < place:
            continue
        start, end = of_name[0].end(), of_name[1].start()
        if not tags.search(text, start, end) and not is_blank(text[start:end]):
            place, count = of_name[1].end(), count + 1
    return count / len(names)


_PLAIN: dict[str, object] = {"sections": [], "answer_section": None}
_COTA = {"sections": ["PLANNING", "CAPTION", "REASONING", "SUMMARY"], "answer_section": "RESPONSE"}
_STEPS = "<PLANNING>p</PLANNING><CAPTION>c</CAPTION>\n<REASONING>r</REASONING><SUMMARY>s</SUMMARY>"
GOLD = [
    Case("<think>\nTwo and two are four.\n</think>\n4", None, args=_PLAIN),
    Case("<think>a</think>b", None, args=_PLAIN),
    Case("4", None, equal=False),
    Case("<think>Two and two", None, equal=False),
    Case("<think>\n\n</think>\n4", None, equal=False),
    Case("<think>Two and two are four.</think>", None, equal=False),
    Case("<think>\u200b\u2800</think>4", None, equal=False),
    Case("<think>Two and two are four.</think>\ufeff\u3164", None, equal=False),
    Case("<think>a</think>b</think>c", None, equal=False),
    Case("4</think><think>", None, equal=False),
    Case("Sure! <think>a</think>b", None, equal=False),
    Case("<think>Two and two are four.</think>", None, score=(0.75, 0.75), args={**_PLAIN, "graded": True}),
    Case("4", None, score=(0.0, 0.0), args={"graded": True}),
    Case(f"<think>\n{_STEPS.lower()}\n</think>\n<RESPONSE>B</RESPONSE>", None, args=_COTA),
    Case(f"<THINK>\n{_STEPS}\n</THINK>\n<RESPONSE>B</RESPONSE>", None, score=(0.0, 0.0), args=_COTA),
    Case("<THINK>a</THINK>b", None, score=(0.0, 0.0), args=_PLAIN),
    Case(f"<think>{_STEPS}</think>B", None, args={**_COTA, "answer_section": None}),
    Case(f"<think>{_STEPS}</think>B", None, equal=False, args=_COTA),
    Case(f"<think>{_STEPS[::-1]}</think><RESPONSE>B</RESPONSE>", None, equal=False, args=_COTA),
]
