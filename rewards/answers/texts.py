"""Normalises the words of an answer for comparison with other texts."""

from __future__ import annotations

import re
import unicodedata

from rewards.answers.marks import ANSWER_TAGS

_ARTICLE = re.compile(r"(?:the|an?) (?=\w\w)")  # not before a single letter: in "a b c" the a is content
_EDGES = ".,;:!?¡¿\"'`“”‘’«»()[]{}*_。，！？"
_LEFT_EDGE = re.compile(rf"^(?:(?!\.\d)[{re.escape(_EDGES)}])+")  # the point of .5 stays


def answer_text(response: str) -> str:
    """Return the contents of the last `<answer>` tags, or the whole response where there are none."""
    contents = ANSWER_TAGS.findall(response)
    return (contents[-1] if contents else response).strip()


def normalise_text(text: str) -> str:
    """Return the words in lower case, without punctuation at their edges (3.5, -3 and don't stay whole) and without a
    leading article. A text of punctuation alone stays."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    bare = " ".join(filter(None, (_LEFT_EDGE.sub("", word.rstrip(_EDGES)) for word in plain.split(" "))))
    article = _ARTICLE.match(bare)
    return bare[article.end() :] if article else bare or plain
