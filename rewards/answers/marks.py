"""Finds the answer that a response marks: in `\\boxed{}`, `<answer>` tags, after `####`, or after "the answer is"."""

from __future__ import annotations

import re

BOX_ATOM = r"\\(?:boxed|fbox)\s*\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}"
"""Atom of a whole `\\boxed{…}`, with braces nested up to three deep. Its quantifiers are possessive (`++`, `*+`): they never
backtrack, so that no hostile answer makes the search slow."""
TAG_ATOM = r"(?i:<(?:answer|response)>)[^<]*+(?i:</(?:answer|response)>)"
"""Atom of a whole pair of answer tags."""
NUMBER_ATOM = (
    r"(?<![\w.])(?<!\d,)[-+−]?\s?(?:\\?[$€£])?(?:\d++(?:,\d++)*+(?:\.\d++)?+|\.\d++)"
    r"(?:[eE][-+]?\d++|\s?(?:[×x*]|\\times)\s?10\s?\^?\s?\{?[-−]?\d++\}?|\s?/\s?\d++)?+(?:\s?\\?%)?+"
    r"(?![\w^]|\.\d|\s?[-+*/=<>\\^]\s?[\w({\\])"  # not a term of something longer
)
"""Atom of a number in digits, with sign, currency, thousands, power of ten, fraction bar or percent sign."""

_BOX_START = re.compile(r"\\(?:boxed|fbox)\s*\{")
# what may stand between the boxes of one answer: \boxed{1}, \boxed{2} or \boxed{3}
_JOINT = re.compile(
    r"(?:\s|[,;/$.&]|\\[()\[\]]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b|\b[a-zA-Z](?:_\{?\d\}?)?\s*=)*"
)
_DOLLAR = re.compile(r"(?<!\\)\$")
# what stands in a box that only shows where an answer goes
_MENTION = re.compile(
    r"(?:\s|\.{3}|…|\\l?dots|\?|\\text\{|\}|\b(?:your|the|final|numerical)\b)*(?:answer|result|solution)?\}?\s*", re.I
)
_TAG = r"<(?:answer|response)>"
ANSWER_TAGS = re.compile(rf"{_TAG}((?:(?!{_TAG}).)*?)</{_TAG[1:]}", re.DOTALL | re.IGNORECASE)
"""Pattern of the innermost pair of answer tags, `<answer>` or `<RESPONSE>` (Audio-Reasoner), in small letters or capitals; its
group is what they enclose."""
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
STATEMENT = r"\b(?:answer|result)\b\s*(?:is\b|:|=)\s*:?[ \t]*(?=\S)"
_STATEMENT_HEAD = re.compile(STATEMENT, re.IGNORECASE)


def last_boxes(text: str) -> list[str]:
    """Return the contents of the last `\\boxed{…}` and of those before it that only a joint (comma, "or") separates. An
    empty box, or one that holds a placeholder, marks nothing."""
    contents: list[str] = []
    joint_from = 0
    for start in _BOX_START.finditer(text):
        if start.start() < joint_from:
            continue  # a box in a box
        # Braces are counted by hand: a regular expression cannot follow them to any depth.
        depth, end = 1, start.end()
        while end < len(text) and depth:
            is_escaped = text[end - 1] == "\\" and text[end - 2 : end] != "\\\\"  # \{ is no brace, \\{ has one
            depth += 0 if is_escaped else {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        content = _DOLLAR.sub("", text[start.end() : end - (depth == 0)]).strip()  # depth > 0: cut off
        if _MENTION.fullmatch(content):
            continue  # "I will put it in \\boxed{}" marks nothing
        between = text[joint_from : start.start()]
        if contents and not (between.strip() and _JOINT.fullmatch(between)):
            contents = []  # something else in between: a new answer begins
        contents.append(content)
        joint_from = end
    return contents


def marked_answer(text: str) -> str | None:
    """Return the answer that stands last in `\\boxed{}` (neighbours joined by commas), else in `<answer>` tags, else after
    `####`; None where nothing marks one."""
    contents = last_boxes(text)
    if contents:
        return ", ".join(contents)
    for pattern in (ANSWER_TAGS, _HASHES):
        answers = pattern.findall(text)
        if answers:
            return answers[-1].strip()
    return None


def stated_answer(text: str) -> str | None:
    """Return the rest of the line after the last "the answer is"; None where the text never says so."""
    heads = list(_STATEMENT_HEAD.finditer(text))
    return text[heads[-1].end() :].partition("\n")[0] if heads else None


def is_enumeration(text: str) -> bool:
    """Return whether a text only lists things, say a thousand guesses: more than 100 words, hardly one of which comes
    twice. In a hundred words of prose many come again."""
    words = [word for word in re.split(r"[\s,;/|]+", text) if word not in ("", "or", "and")]
    return len(words) > 100 and len(set(words)) > 0.9 * len(words)
