"""Search in a text file of the user's: the paragraphs that match a query best (BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TAG = "search"
MOST_CHARACTERS = 1200
"""Characters of a result."""
MOST_BYTES = 64 << 20
"""Size of the file."""
_WORD = re.compile(r"\w+")
_SATURATION, _LENGTH_WEIGHT = 1.5, 0.75  # k1 and b of BM25 (Robertson and Zaragoza 2009)


def search(query: str, *, file: Path, results: int = 3) -> str:
    """Return the passages of the text that match a query best."""
    words = {*map(str.casefold, _WORD.findall(query))}
    if not words:
        raise ValueError("an empty query")
    passages = _index(str(file)).find(words, results)
    if not passages:
        return "no passage matches"
    return "\n\n".join(f"[{i}] {text[:MOST_CHARACTERS]}" for i, text in enumerate(passages, 1))


def require(*, file: Path, **_: object) -> None:
    """Raise ValueError where the file cannot be searched."""
    _index(str(file))


@dataclass(frozen=True, slots=True)
class Index:
    """Passages of a file with the words in them."""

    passages: list[str]
    counts: list[Counter[str]]
    frequencies: Counter[str]
    """Number of passages that have a word."""

    def find(self, words: set[str], limit: int) -> list[str]:
        """Return at most `limit` passages, the best first, those in the order of the file that match equally."""
        mean_length = sum(counts.total() for counts in self.counts) / len(self.counts)
        scores: list[tuple[float, int]] = []
        for i, counts in enumerate(self.counts):
            found_words = sorted(words & counts.keys())  # sorted: sums of floats depend on their order
            length = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * counts.total() / mean_length)
            score = sum(
                self._weight(word) * counts[word] * (_SATURATION + 1) / (counts[word] + length) for word in found_words
            )
            if score > 0:
                scores.append((-score, i))
        return [self.passages[i] for _, i in sorted(scores)[:limit]]

    def _weight(self, word: str) -> float:
        """Return the inverse document frequency of a word, above 0 also for one that stands everywhere."""
        frequency = self.frequencies[word]
        return math.log(1 + (len(self.passages) - frequency + 0.5) / (frequency + 0.5))


@lru_cache(maxsize=8)
def _index(file: str) -> Index:
    """Return the index of a file: its paragraphs, or its lines where it has no blank ones. Raises OSError, and
    ValueError for a file that is too large or without words."""
    path = Path(file)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{file}: larger than {MOST_BYTES >> 20} MB; split it")
    text = path.read_text("utf-8", "replace")
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    passages = paragraphs if len(paragraphs) > 1 else [line.strip() for line in text.splitlines() if line.strip()]
    counts = [Counter(map(str.casefold, _WORD.findall(passage))) for passage in passages]
    frequencies = Counter(word for words in counts for word in words)
    if not frequencies:
        raise ValueError(f"{file}: holds no word; name a file of text")
    return Index(passages, counts, frequencies)
