"""Reads the words of transcripts, and computes the error rate between two of them."""

from __future__ import annotations

import unicodedata

LONGEST = 20
"""Factor of the reference's number of words at which an answer is cut: a longer one has an error rate above 1 in any
case, and alignment takes quadratic time."""


def transcript_words(text: str, normalise: bool = True) -> list[str]:
    """Return the words of a transcript; unless `normalise` is off in lower case and without punctuation."""
    if not normalise:
        return text.split()
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    # combining marks are letters' accents (and vowels in Indic scripts), the apostrophe belongs to "don't"
    text = "".join(c if c.isalnum() or c in "'" or unicodedata.combining(c) else " " for c in text)
    return [word.strip("'") for word in text.split() if word.strip("'")]


def error_rate(reference: str, hypothesis: str, characters: bool = False) -> float:
    """Return the word error rate of a hypothesis, or with `characters` its character error rate: 1 where it is empty, above 1
    where it inserts much. Raises ValueError for a reference without words."""
    import jiwer

    words, heard = transcript_words(reference), transcript_words(hypothesis)
    if not words:
        raise ValueError(f"the reference {reference[:40]!r} has no words to compare with")
    if characters:  # jiwer aligns words: each character becomes one
        words, heard = list("".join(words)), list("".join(heard))
    heard = heard[: LONGEST * len(words)]
    return float(jiwer.process_words(" ".join(words), " ".join(heard)).wer) if heard else 1.0
