"""Rewrites the chain of a listening task, `a 220Hz b 440Hz second higher`, as other teachers would have written it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

_MEASUREMENT = re.compile(r"-?\d+(?:\.\d+)?(?=Hz|dB|s\b|k\b|/s)")


def make_mistake(chain: str, answer: str, choices: Sequence[str], random: Random) -> tuple[str, str]:
    """Return (the chain with one fact wrong, the answer that follows from it). Half of the mistakes are a number, far beyond any
    margin, beside the right answer; the other half, and all where there is no number, the conclusion."""
    numbers = list(_MEASUREMENT.finditer(chain))
    if numbers and random.random() < 0.5:
        number = random.choice(numbers)
        unit = chain[number.end() :]
        more = random.random() < 0.5
        # Margins of questions are 3 dB, and factors of 1.25 at most (`questions.QUANTITIES`).
        if unit.startswith("dB"):
            value = float(number[0]) + (10 if more else -10)
        else:
            value = float(number[0]) * (1.7 if more else 1 / 1.7)
        wrong = f"{value:.0f}" if unit.startswith(("Hz", "dB")) else f"{value:.2f}".rstrip("0").rstrip(".")
        return chain[: number.start()] + wrong + unit, answer
    claim = random.choice([choice for choice in choices if choice != answer])
    # The last mention is the conclusion: what is measured stands before it.
    head, found, end = chain.rpartition(answer)
    return (f"{head}{claim}{end}" if found else f"{chain} {claim}"), claim


def write_sections(kind: str, chain: str, answer: str) -> str:
    """Return the chain as Audio-Reasoner writes it (arXiv 2503.02318): what is asked, what is heard, what follows."""
    words = chain.split()
    # What is measured comes first, up to the last number; what follows from it comes after.
    measured = max((i for i, word in enumerate(words, 1) if any(map(str.isdigit, word))), default=len(words))
    caption, conclusion = " ".join(words[:measured]), " ".join(words[measured:]) or answer
    sections = {"PLANNING": f"hear {kind}", "CAPTION": caption, "REASONING": conclusion, "SUMMARY": answer}
    return "\n".join(f"<{name}>{text}</{name}>" for name, text in sections.items())
