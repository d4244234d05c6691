"""The standard form of a turn that thinks: a chain between tags, then the answer; and what of a text is blank."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
OTHER_TAGS = (
    ("<THINK>", "</THINK>"),  # Audio-Reasoner
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("◁think▷", "◁/think▷"),  # Kimi-VL-Thinking
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThoughts
    ("<|channel|>analysis", "<|channel|>final"),  # gpt-oss
)
"""Tags around a chain in models and data sets that have their own, none of them a word that somebody writes."""

# Characters without a glyph that Unicode does not call a space, control or format character: fillers, joiners and variation
# selectors, with the braille cell without dots and the musical note without a head.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)
# format characters that do show: signs of Arabic, Syriac and Kaithi that enclose a number
_SHOWN = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")


def is_blank(text: str) -> bool:
    """Return whether a reader sees nothing of a text: spaces, control and format characters and characters without a
    glyph, such as the zero-width space, the soft hyphen and the Hangul filler."""
    return all(map(_is_blank_character, text))


def drop_invisible(text: str) -> str:
    """Return the text without its blank characters that are no space: "an\u200bswer" is "answer"."""
    return "".join(c for c in text if c.isspace() or not _is_blank_character(c))


@lru_cache(maxsize=4096)
def _is_blank_character(character: str) -> bool:
    if character.isascii():
        return character.isspace() or not character.isprintable()
    if _UNSEEN.match(character):
        return True
    return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp") and not _SHOWN.match(character)


def split_think(text: str) -> tuple[str, str]:
    """Return (chain, answer) of an assistant turn in the format `<think>\\n chain \\n</think>\\n answer`; a part that is
    blank is empty. A chain that is opened and never closed has no answer; a text without tags is all answer."""
    # The last closing tag counts: a chain may quote the tag.
    head, closing_tag, tail = text.rpartition(THINK_CLOSE)
    before, opening_tag, chain = (head if closing_tag else text).partition(THINK_OPEN)
    is_opened = bool(opening_tag) and is_blank(before)
    if closing_tag:
        return _strip(chain if is_opened else head), _strip(tail)
    return (_strip(chain), "") if is_opened else ("", _strip(text))


def find_other_tags(text: str) -> tuple[str, str] | None:
    """Return the tags of `OTHER_TAGS` that a text has both of; None for a text without any."""
    return next((tags for tags in OTHER_TAGS if all(tag in text for tag in tags)), None)


def to_standard_tags(text: str) -> str:
    """Return an assistant turn that opens with a chain in other tags in the standard form; any other as it is."""
    for opening_tag, closing_tag in OTHER_TAGS[
        :-1
    ]:  # gpt-oss also marks the answer: its turns are no text with a chain
        before, opening, rest = text.partition(opening_tag)
        chain, closing, answer = rest.partition(closing_tag)
        if opening and closing and is_blank(before):
            return f"{THINK_OPEN}{chain}{THINK_CLOSE}{answer}"
    return text


def _strip(part: str) -> str:
    # Only what is blank as a whole: at an edge a variation selector belongs to the sign before it.
    return "" if is_blank(part) else part.strip()


def answer_of(text: str) -> str:
    """Return the answer of an assistant turn, up to a second chain that is opened behind it: nothing there counts."""
    chain, answer = split_think(text)
    is_second = bool(chain) or THINK_CLOSE in text
    return _strip(answer.partition(THINK_OPEN)[0]) if is_second else answer


def join_think(chain: str, answer: str) -> str:
    """Return the assistant turn of a chain and an answer, which `split_think` takes apart again."""
    return f"{THINK_OPEN}\n{chain}\n{THINK_CLOSE}\n{answer}"


class Turn:
    """An assistant's turn, from its text. Classes with a field `text` extend it."""

    __slots__ = ()
    text: str

    @property
    def reasoning(self) -> str:
        """Chain of thought; empty if the tags are missing or unclosed."""
        return split_think(self.text)[0]

    @property
    def response(self) -> str:
        """Text after the chain; the whole text if there is no closed chain. A second chain behind it is none of it."""
        return answer_of(self.text)
