"""Finds the answer in a response. The last one counts, unless it is denied ("not 42", "anything but C"), called wrong, or
followed by a correction ("no, wait: …").

Each verifier says for itself what an answer looks like: it hands in a regular expression without groups, the *atom*. The
rules read English; of other languages they know the plainest denials.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise

BOX_ATOM = r"\\(?:boxed|fbox)\s*\{(?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+\}"
"""Atom of a whole `\\boxed{…}`, with braces nested up to three deep. Its quantifiers are possessive (`++`, `*+`): they never
backtrack, so that no hostile answer makes the search slow."""
TAG_ATOM = r"<answer>[^<]*+</answer>"
"""Atom of a whole pair of answer tags."""
NUMBER_ATOM = (
    r"(?<![\w.])(?<!\d,)[-+−]?\s?(?:\\?[$€£])?(?:\d[\d,]*+(?:\.\d++)?+|\.\d++)"
    r"(?:[eE][-+]?\d++|\s?(?:[×x*]|\\times)\s?10\s?\^?\s?\{?[-−]?\d++\}?|\s?/\s?\d++)?+(?:\s?\\?%)?+"
    r"(?![\w^]|\.\d|\s?[-+*/=<>\\^]\s?[\w({\\])"  # not a term of something longer
)
"""Atom of a number in digits, with sign, currency, thousands, power of ten, fraction bar or percent sign."""

_BOX_START = re.compile(r"\\(?:boxed|fbox)\s*\{")
# what may stand between the boxes of one answer: \boxed{1}, \boxed{2} or \boxed{3}
_JOINT = re.compile(r"(?:\s|[,;/$.&]|\\[()\[\]]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)*")
_DOLLAR = re.compile(r"(?<!\\)\$")
ANSWER_TAGS = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
"""Pattern of the innermost pair of answer tags; its group is what they enclose."""
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_STATEMENT = r"\b(?:answer|result)\b\s*(?:is\b|:|=)\s*:?[ \t]*(?=\S)"
_STATEMENT_HEAD = re.compile(_STATEMENT, re.IGNORECASE)

_NEAR = 80  # characters before an answer in which it can be denied
# a denial that ends right before an answer ("not", "anything but", "ruled out")
_DENIAL = re.compile(
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
# a verdict right after an answer ("is wrong", "can't be right")
_WRONG = re.compile(
    r"[\s*$)\"'”’}?.,]*(?:(?:but\s+)?(?:which|that|this|it)(?:\s+|(?=['’]s)))?"
    r"(?:(?:is|was|are|were|seems|looks|(?:would|must|can)\s+be|['’]s)(?:\s+\w+)?\s+(?:wrong|incorrect|mistaken|ruled\s+out"
    r"|not\s+(?:right|correct|true|it|possible|the\s+(?:right\s+|correct\s+)?(?:answer|one)))"
    r"|(?:isn['’]t|can(?:no|['’])t\s+be)\s+(?:right|correct|true|it|the\s+(?:right\s+|correct\s+)?(?:answer|one)))\b",
    re.IGNORECASE,
)
# between answers that share a denial ("neither 41 nor 42")
_OR = re.compile(r"[\s*$)]*(?:,?\s*n?or|and)\s+[*$(]*", re.IGNORECASE)
# the words of a correction; `_compile_correction` wants an answer right behind them
_CORRECTION = (
    r"(?:^|(?<=[.,;:!?(\n—–-])|(?<=[.,;:!?(—–-]\s))\s{0,4}(?:(?:oh|but|hmm),?\s+)?"
    r"(?:no,?\s+wait|wait(?=\s*[,.:;!—–-])|no(?=\s*[,.:;!—–-])|nope|actually|correction|scratch\s+that|sorry|I\s+mean"
    r"|on\s+second\s+thoughts?|make\s+(?:that|it)|or\s+rather)\b(?:[\s,.:;!—–-]|(?:no|wait|sorry|actually)\b){0,12}"
)
_LEAD_IN = r"(?:(?:so|then|it|that|this|the|my|correct|right|final|is|was|should|must|be|I|mean|meant|think)\b|[\s,:*$(\"]|['’]s\b){0,24}"


def last_boxes(text: str) -> list[str]:
    """Return the contents of the last `\\boxed{}` and of those before it that only a joint (comma, "or") separates."""
    contents: list[str] = []
    joint_from = 0
    for start in _BOX_START.finditer(text):
        if start.start() < joint_from:
            continue  # a box in a box
        # Braces are counted by hand: a regular expression cannot follow them to any depth.
        depth, end = 1, start.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        between = text[joint_from : start.start()]
        if contents and not (between.strip() and _JOINT.fullmatch(between)):
            contents = []  # something else in between: a new answer begins
        contents.append(_DOLLAR.sub("", text[start.end() : end - (depth == 0)]).strip())  # depth > 0: cut off
        joint_from = end
    return contents


def marked_answer(text: str) -> str | None:
    """Return the answer that stands last in `\\boxed{}` (neighbours neighbours by commas), else in `<answer>` tags, else after
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


def drop_retracted(text: str, atom: str) -> str:
    """Return the part of a text that still holds: without the answers that it denies, from its last correction on."""
    return after_correction(drop_denied(text, atom), atom)


def drop_denied(text: str, atom: str) -> str:
    """Return the text without the answers that it denies or calls wrong: "not 41 but 42" keeps 42, "B is wrong" none."""
    answers = list(_compile(atom).finditer(text))
    ends = [0, *(answer.end() for answer in answers)]
    denied_before = [  # by what stands between the answer before and this one, at most _NEAR characters
        _is_denied(text, max(end, answer.start() - _NEAR), answer.start())
        for end, answer in zip(ends, answers, strict=False)
    ]
    denied_after = [_WRONG.match(text, answer.end()) is not None for answer in answers]
    neighbours = [i for i, (a, b) in enumerate(pairwise(answers)) if _OR.fullmatch(text, a.end(), b.start())]
    for i in neighbours:  # "neither 41 nor 42"
        denied_before[i + 1] |= denied_before[i]
    for i in reversed(neighbours):  # "41 and 42 are wrong"
        denied_after[i] |= denied_after[i + 1]
    pieces: list[str] = []
    end = 0
    for answer, *denials in zip(answers, denied_before, denied_after, strict=True):
        if sum(denials) == 1:  # "every option but C is wrong" denies twice
            pieces += text[end : answer.start()], " "
            end = answer.end()
    return "".join([*pieces, text[end:]])


def _is_denied(text: str, start: int, end: int) -> bool:
    """Return whether text[start:end] denies the answer that follows it."""
    denial = _DENIAL.search(text, start, end)
    return denial is not None and not (denial["all_but"] and _NEGATIVE.search(text, start, denial.start()))


def after_correction(text: str, atom: str) -> str:
    """Return the text from its last correction on ("no, wait", "actually", with another answer right behind it)."""
    cuts = [correction.end() for correction in _compile_correction(atom).finditer(text)]
    rest = text[cuts[-1] :] if cuts else text
    # A marked answer is not taken back by an aside that marks and states none: "\boxed{42}. Actually, 43 is prime".
    is_aside = marked_answer(text) is not None and marked_answer(rest) is None and stated_answer(rest) is None
    return text if is_aside else rest


def is_enumeration(text: str) -> bool:
    """Return whether a text only lists things, say a thousand guesses: more than 100 words, hardly one of which comes
    twice. In a hundred words of prose many come again."""
    words = [word for word in re.split(r"[\s,;/|]+", text) if word not in ("", "or", "and")]
    return len(words) > 100 and len(set(words)) > 0.9 * len(words)


@lru_cache(maxsize=256)  # an atom may hold the texts of a prompt's options: many, each judged in several samples
def _compile(atom: str) -> re.Pattern[str]:
    return re.compile(atom)


@lru_cache(maxsize=256)
def _compile_correction(atom: str) -> re.Pattern[str]:
    return re.compile(rf"(?i:{_CORRECTION})(?=(?i:{_LEAD_IN})(?:{atom}|(?i:{_STATEMENT})))")
