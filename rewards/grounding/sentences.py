"""Split a chain of thought into the sentences that may claim something."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_QUOTATION = re.compile(r"\"[^\"\n]{0,200}\"|“[^”\n]{0,200}”|\B'[^'\n]{0,80}'\B")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[\n;]+|(?<![\d])\.(?!\d)")
# A sentence that claims nothing: it asks, plans, doubts or supposes.
_NO_CLAIM = re.compile(
    r"\?\s*$|^\W*(?:(?:so|now|and|ok|okay|first|next) ?,? )*(?:which|what(?! (?:stands|strikes|i |we ))|is|are|does|do|did|how|whether|if|should|can"
    r"|could|let(?:'s| me| us)|(?:i|we) (?:need to|have to|want to|must|should|will)|to (?:find|tell"
    r"|decide|determine|compare|answer)|the (?:question|task|options?|prompt|choices?|user)|options?|maybe|perhaps)\b"
    r"|\b(?:whether|suppose|supposing|imagine|would (?:have|sound|mean)|might|may be|could be|had it|were it|unclear"
    r"|hard to (?:say|tell)|which is (?:false|untrue|wrong|not (?:true|so))|at first (?:glance|sight|hearing)|not sure|in general|usually|typically|normally)\b"
)
_CONTINUATION = re.compile(r"(?:[.;]|\s*\n)\s+(?=(?:then|later|afterwards|after that|finally)\b)")
"""Pattern of the break before a sentence that continues the one before it."""


def remove_quotations(text: str) -> str:
    """Return the text with spaces in the place of what it quotes, such as the question or an option."""
    return _QUOTATION.sub(lambda quotation: " " * len(quotation[0]), text)


def claiming_sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield (where it begins, sentence) of the sentences of a text in lower case, except those that ask, plan, doubt or
    suppose."""
    # The replacement has the same length, so that indices in it are indices in the text.
    joined_text = _CONTINUATION.sub(lambda gap: "," + " " * (len(gap[0]) - 1), text)
    start = 0
    for end, next_start in [*((m.start(), m.end()) for m in _SENTENCE.finditer(joined_text)), (len(text), 0)]:
        sentence = joined_text[start:end]
        if sentence and not _NO_CLAIM.search(sentence):
            yield start, sentence
        start = next_start


def find_ends(sentence: str, start: int, texts: Sequence[str]) -> list[int]:
    """Return where in the chain each token of a sentence that begins at `start` ends; one that was worded anew ends where the
    one before it does."""
    ends: list[int] = []
    place = 0
    for text in texts:
        found_place = sentence.find(text, place) if text else -1
        place = found_place + len(text) if found_place >= 0 else place
        ends.append(start + place)
    return ends
