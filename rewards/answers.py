"""Where the answer of a response stands, and whether it still holds there: the last one counts, and not one that is
denied ("not 42", "anything but C"), called wrong, or followed by a correction ("no, wait: …").

What an answer looks like is a verifier's own business: it is handed in as a regular expression without groups, an
*atom*. All of this reads English; of other languages it knows the plainest denials.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

BOXED = r"\\(?:boxed|fbox)\s*\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}"
"""An atom: a whole box."""
TAGGED = r"<answer>[^<]*+</answer>"
NUMBER = (
    r"(?<![\w.])(?<!\d,)[-+−]?\s?(?:\\?[$€£])?(?:\d[\d,]*+(?:\.\d++)?+|\.\d++)"
    r"(?:[eE][-+]?\d++|\s?(?:[×x*]|\\times)\s?10\s?\^?\s?\{?[-−]?\d++\}?|\s?/\s?\d++)?+(?:\s?\\?%)?+"
    r"(?![\w^]|\.\d|\s?[-+*/=<>\\^]\s?[\w({\\])"  # not a term of something longer
)

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_JOINT = re.compile(r"(?:\s|[,;/$.&]|\\[()\[\]]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)*")
_DOLLAR = re.compile(r"(?<!\\)\$")
TAGS = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_SAID = r"\b(?:answer|result)\b\s*(?:is\b|:|=)\s*:?[ \t]*(?=\S)"
_HEAD = re.compile(_SAID, re.IGNORECASE)

_NEAR = 80  # characters before an answer in which it can be denied
_DENIED = re.compile(
    r"(?<![\w\\])(?:(?<!\bor )not|nor|neither|never|(?:isn|wasn|aren|weren)['’]t|(?:cannot|can['’]t|couldn['’]t)\s+be"
    r"|rather\s+than|instead\s+of|(?:rul|eliminat|exclud|reject)(?:e|es|ed|ing)?(?:\s+out)?"
    r"|(?:wrong|incorrect)\s+(?:\w+\s+)?(?:is|was|:)|nicht|pas|no\s+es|不是"
    r"|(?P<all_but>(?:any|every|all)(?:thing|one|\s+\w+)?\s+but|other\s+than|except(?:\s+for)?))"
    r"(?:[\s*$(\"'“‘]|\\[(\[]|\\text\{|(?:be|just|simply|either|both|exactly|about|equal|to|the|an?|option|choice|answer)\b)*+\Z",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(  # "none other than 42", "all ruled out except 42" deny nothing
    r"(?:\b(?:no|none|nothing|not|never|cannot|out|eliminated|excluded|wrong|incorrect)\b|n['’]t\b)[^.;!?\n]*\Z", re.I
)
_WRONG = re.compile(
    r"[\s*$)\"'”’}?.,]*(?:(?:but\s+)?(?:which|that|this|it)(?:\s+|(?=['’]s)))?"
    r"(?:(?:is|was|are|were|seems|looks|(?:would|must|can)\s+be|['’]s)(?:\s+\w+)?\s+(?:wrong|incorrect|mistaken|ruled\s+out"
    r"|not\s+(?:right|correct|true|it|possible|the\s+(?:right\s+|correct\s+)?(?:answer|one)))"
    r"|(?:isn['’]t|can(?:no|['’])t\s+be)\s+(?:right|correct|true|it|the\s+(?:right\s+|correct\s+)?(?:answer|one)))\b",
    re.IGNORECASE,
)
_OR = re.compile(r"[\s*$)]*(?:,?\s*n?or|and)\s+[*$(]*", re.IGNORECASE)
_CORRECTS = (
    r"(?:^|(?<=[.,;:!?(\n—–-])|(?<=[.,;:!?(—–-]\s))\s{0,4}(?:(?:oh|but|hmm),?\s+)?"
    r"(?:no,?\s+wait|wait(?=\s*[,.:;!—–-])|no(?=\s*[,.:;!—–-])|nope|actually|correction|scratch\s+that|sorry|I\s+mean"
    r"|on\s+second\s+thoughts?|make\s+(?:that|it)|or\s+rather)\b(?:[\s,.:;!—–-]|(?:no|wait|sorry|actually)\b){0,12}"
)
_LEADS = r"(?:(?:so|then|it|that|this|the|my|correct|right|final|is|was|should|must|be|I|mean|meant|think)\b|[\s,:*$(\"]|['’]s\b){0,24}"


def boxes(text: str) -> list[str]:
    """Contents of the last `\\boxed{}` and of those before it with nothing but a joint (comma, 'or') between."""
    found: list[str] = []
    joint_from = 0
    for start in _BOX.finditer(text):
        if start.start() < joint_from:
            continue  # a box in a box
        depth, end = 1, start.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        between = text[joint_from : start.start()]
        if found and not (between.strip() and _JOINT.fullmatch(between)):
            found = []
        found.append(_DOLLAR.sub("", text[start.end() : end - (depth == 0)]).strip())
        joint_from = end
    return found


def marked(text: str) -> str | None:
    """The answer that stands last in `\\boxed{}` (neighbours joined by commas), `<answer>` tags or after `####`; None
    where nothing marks one."""
    if found := boxes(text):
        return ", ".join(found)
    for mark in (TAGS, _HASHES):
        if found := mark.findall(text):
            return found[-1].strip()
    return None


def said(text: str) -> str | None:
    """The rest of the line after the last "the answer is"; None where nobody says so."""
    heads = list(_HEAD.finditer(text))
    return text[heads[-1].end() :].partition("\n")[0] if heads else None


def standing(text: str, atom: str) -> str:
    """What of a text still stands: without the answers that it denies, and only from its last correction on."""
    return corrected(held(text, atom), atom)


def held(text: str, atom: str) -> str:
    """The text without the answers that it denies or calls wrong: "not 41 but 42" holds 42, "B is wrong" nothing."""
    found = list(_compiled(atom).finditer(text))
    ends = [0, *(answer.end() for answer in found)]
    before = [
        _is_denied(text, max(end, answer.start() - _NEAR), answer.start())
        for end, answer in zip(ends, found, strict=False)
    ]
    after = [_WRONG.match(text, answer.end()) is not None for answer in found]
    joined = [i for i, (a, b) in enumerate(pairwise(found)) if _OR.fullmatch(text, a.end(), b.start())]
    for i in joined:  # "neither 41 nor 42"
        before[i + 1] |= before[i]
    for i in reversed(joined):  # "41 and 42 are wrong"
        after[i] |= after[i + 1]
    pieces: list[str] = []
    end = 0
    for answer, *denials in zip(found, before, after, strict=True):
        if sum(denials) == 1:  # "every option but C is wrong" denies twice
            pieces += text[end : answer.start()], " "
            end = answer.end()
    return "".join([*pieces, text[end:]])


def _is_denied(text: str, start: int, end: int) -> bool:
    """Whether what stands between these two denies the answer that follows."""
    denial = _DENIED.search(text, start, end)
    return denial is not None and not (denial["all_but"] and _NEGATIVE.search(text, start, denial.start()))


def corrected(text: str, atom: str) -> str:
    """The text from its last correction on ("no, wait", "actually", with another answer right behind it)."""
    cuts = [correction.end() for correction in _compiled(atom, _CORRECTS).finditer(text)]
    rest = text[cuts[-1] :] if cuts else text
    return text if marked(text) is not None and marked(rest) is said(rest) is None else rest


def listed(text: str) -> bool:
    """Whether a text only counts things up: in a hundred words of prose many come back."""
    words = [word for word in re.split(r"[\s,;/|]+", text) if word not in ("", "or", "and")]
    return len(words) > 100 and len(set(words)) > 0.9 * len(words)


@lru_cache(maxsize=256)
def _compiled(atom: str, corrects: str = "") -> re.Pattern[str]:
    return re.compile(rf"(?i:{corrects})(?=(?i:{_LEADS})(?:{atom}|(?i:{_SAID})))" if corrects else atom)
