"""Split a chain of thought into the sentences that may claim something."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    """Return the text without what it quotes, such as the question or an option."""
    return _QUOTATION.sub(" ", text)


def claiming_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text in lower case, except those that ask, plan, doubt or suppose."""
    for sentence in _SENTENCE.split(_CONTINUATION.sub(", ", text)):
        if sentence and not _NO_CLAIM.search(sentence):
            yield sentence
