"""Writes an answer to a multiple-choice question in one plain form: without markup and quotes, every letter that names an
option a capital that stands alone, and what other languages say beside a letter in the English that `rewards.answers`
reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

from rewards.choices.statements import (
    JOINT,
    LEAD_IN,
    NO_STATEMENT,
    OFFERS,
    POSTFIX,
    STATEMENT,
    WEAK_HEAD,
    in_english,
    list_start,
    match_end,
)
from rl.think import drop_invisible

_LATIN = "A-Za-z0-9\u00c0-\u024f"
# scripts whose words a letter may touch: Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3131-\u318e\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
_SCRIPT_EDGE = re.compile(
    rf"(?<=[{_UNSPACED}])(?=\(?[A-Za-z](?![A-Za-z]))|(?<=(?<![A-Za-z])[A-Za-z])(?=[{_UNSPACED}])|(?<=\))(?=[{_UNSPACED}])"
)
_LATEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|sc|normal)?|math(?:bf|it|rm|sf|tt|bb|cal|normal)|operatorname|boldsymbol|bm|mbox|hbox|emph|underline|bf)"
    r"\s*\{([^{}]*)\}"
)
_LATEX_SWITCH = re.compile(r"\\(?:(?:bf|rm|it|bfseries|displaystyle|left|right|q?quad)(?![A-Za-z])|[,;:!()\[\] ])")
_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|</[A-Za-z_]{1,20}>|<s>|<br\s?/?>")
_TAG = re.compile(r"<(?:[bius]|em|strong|code|span|mark|p|div)(?:\s[^<>\n]{0,100})?>")
_NAMING_TAG = re.compile(r"<(?:final_?)?(?:answer|choice|option|letter|response)>", re.I)
_MARKUP = re.compile(rf"[*$`~]|(?<![{_LATIN}_])_{{1,3}}(?=\S)|(?<=\S)_{{1,3}}(?![{_LATIN}_])|^[ \t]*[>+-][ \t]+", re.M)
_NUMBERED = re.compile(r"^[ \t]*\d{1,3}[.)][ \t]+(?=\(?[A-Za-z]\)?[ \t.]*$)", re.M)  # "1. B"
_QUOTE = re.compile(rf"[\"“”„‟«»‹›「」『』｢｣〝〞‘‛]|(?<![{_LATIN}])['’](?=\S)|(?<=\S)['’](?![{_LATIN}])")
_LETTER_IN_BRACKETS = re.compile(
    r"(?:[\[<(]|(?<![A-Za-z]){)\s*([A-Za-z])\s*[.:)]?\s*[\]}>)]"
)  # not the braces of \\boxed{B}
_OPENING_BRACKET = re.compile(r"(?<![\w\\}])[\[{<](?=[A-Za-z][.:)]\s)")
_MARKS = str.maketrans({**dict.fromkeys("【〔《〈〖", "("), **dict.fromkeys("】〕》〉〗", ")"), "、": ", ", "。": ". "})
_CIRCLE = re.compile("(?<![①-⑳])[①-⑳](?![①-⑳])")
_SMALL = re.compile(r"\(?(?<![\w'’])([a-z])(?![\w'’])\)?")
_LIST_OF_SMALL = re.compile(r"[^\w(]*\(?[a-z]\)?[).:]*(?:(?:\s*(?:[,/&;|]|\b(?:or|and)\b))*\s*\(?[a-z]\b\)?[).:]*)*\s*")
_SMALL_LABEL = re.compile(
    r"\s*(?:\([a-z]\)(?=\s)|[a-z](?:[.:)](?=\s)|(?=\s+[-–—]\s|,?\s+(?:because|since|weil|parce|porque|perché)\b)))"
)
_FURTHER_LABEL = re.compile(r"(?:[;,|/\n]|\b(?:or|and))\s*(?:\(([a-z])\)|([a-z])[.:)])(?=\s)")
_LONGEST_LIST, _LONGEST_TEXT = 200, 1000  # characters
_MOST_OFFERED = 30  # letters in one statement
# what ends a small letter: the end of a clause, or a word that no noun is: "the answer is a because", not "a dog"
_END = re.compile(
    rf"\s*(?:$|[.,;:!?)}}\]]+(?=\s|$)|[/&|(–—]|-\s|\n\s*(?![a-z])|(?=[{_UNSPACED}])|(?:because|since|as|for"
    r"|rather|over|not|but|which|parce|car|weil|denn|da|porque|pues|perché|omdat|wählen|nehmen)(?!\w))"
)


def plain_text(text: str) -> str:
    """Return the text without markup, quotes and invisible characters, with full-width, circled and styled characters as
    plain ones, and with spaces around a letter that touches Chinese, Japanese or Korean."""
    # A backspace is what JSON makes of the `\b` of a `\boxed` that was not escaped.
    text = drop_invisible("".join(map(_fold, text.replace("\x08oxed", "\\boxed"))))
    text = re.sub(r"(\\[fb]?box(?:ed)?)\s+{", r"\1{", text)
    text = _NAMING_TAG.sub(" ", _TOKEN.sub(" ", _TAG.sub(" ", text) if "</" in text else text)).translate(_MARKS)
    for _ in range(3):  # one in the other: \text{\textbf{B}}
        text = _LATEX_TEXT.sub(r" \1 ", text)
    text = _QUOTE.sub(" ", _MARKUP.sub("", _LATEX_SWITCH.sub(" ", text)))
    return _SCRIPT_EDGE.sub(" ", _NUMBERED.sub("", _OPENING_BRACKET.sub("", _LETTER_IN_BRACKETS.sub(r"(\1)", text))))


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    if character.isascii():
        return character
    code = ord(character)
    if "①" <= character <= "⑳":  # may be a place among the options: `_letters_for_circles`
        return character
    for first in (0x1F150, 0x1F170):  # white letters on a black circle or square, which NFKC leaves alone
        if first <= code < first + 26:
            return chr(ord("A") + code - first)
    # not superscripts and fractions: 4² is not 42
    kinds = ("<wide>", "<narrow>", "<circle>", "<square>", "<font>", "<compat>")
    has_plain_form = unicodedata.decomposition(character).partition(" ")[0] in kinds
    return unicodedata.normalize("NFKC", character) if has_plain_form else character


def name_letters(text: str, texts: Mapping[str, str]) -> str:
    """Return a plain text with the options' letters (letter -> plain text of the option) in capitals wherever a small one
    or the number in a circle names one, and with English words beside them. A small letter names an option where a
    statement says it, where it is the whole answer or its last line, or before the option's own text."""
    small = {letter.lower() for letter in texts if len(letter) == 1}
    text = _letters_for_circles(text, texts)
    places = _places_in_line(text, 0, texts) | _places_in_line(text, _last_line_start(text), texts)
    for pattern in (STATEMENT, WEAK_HEAD):
        stop = 0
        for head in pattern.finditer(text):
            if head.end() < stop:  # inside the list of the statement before
                continue
            head_places = _find_places(text, head.end(), texts)
            stop = max(head_places, default=stop)
            if head_places and not NO_STATEMENT.search(text, max(0, head.start() - 60), head.start()):
                places |= head_places
    letters = list(_SMALL.finditer(text))
    for i, letter in enumerate(letters):
        if POSTFIX.match(text, letter.end()):
            places |= {m.start(1) for m in letters[list_start(text, letters, i) : i + 1]}
    characters = list(text)
    for place in places:
        if text[place] in small:
            characters[place] = text[place].upper()
    return in_english("".join(characters))


def _places_in_line(text: str, start: int, texts: Mapping[str, str]) -> set[int]:
    """Return where small letters stand that the rest of a text consists of, or begins with as with a label: "b", "b, c",
    "(b) Paris"."""
    rest = text[start:]
    if len(rest) < _LONGEST_LIST and _LIST_OF_SMALL.fullmatch(rest):
        return {start + m.start(1) for m in _SMALL.finditer(rest)}
    label = _SMALL_LABEL.match(rest) or (_SMALL.match(rest) if _is_own_text(rest, texts) else None)
    if not label:
        return set()
    places = {m.start(1) for m in _SMALL.finditer(rest, 0, label.end())} | _find_places(rest, 0, texts)
    places |= {m.start(m.lastindex or 0) for m in _FURTHER_LABEL.finditer(rest)}
    return {start + place for place in places}


def _find_places(text: str, start: int, texts: Mapping[str, str]) -> set[int]:
    """Return where small letters stand that a statement names whose head ends at `start`: one, or several with joints."""
    places: set[int] = set()
    for _ in range(_MOST_OFFERED):
        letter = _SMALL.match(text, match_end(LEAD_IN, text, start))
        if not letter:
            break
        start = match_end(JOINT, text, letter.end())
        offers = OFFERS.search(text[letter.end() : start]) is not None
        own_text = text[letter.start() : letter.end() + _LONGEST_TEXT]
        if not (offers or _END.match(text, letter.end()) or _is_own_text(own_text, texts)):
            break
        places.add(letter.start(1))
        if not offers and "," not in text[letter.end() : start]:
            break
    return places


def _is_own_text(text: str, texts: Mapping[str, str]) -> bool:
    """Return whether a text begins with a letter and that option's own text."""
    text = text.lstrip()
    letter = _SMALL.match(text)
    own_text = texts.get(letter[1].upper(), "").strip().casefold() if letter else ""
    rest = text[match_end(_SMALL, text, 0) :].lstrip(" .:)").casefold()
    return bool(own_text) and rest.startswith(own_text) and not rest[len(own_text) : len(own_text) + 1].isalnum()


def _last_line_start(text: str) -> int:
    return text.rstrip().rfind("\n") + 1


def _letters_for_circles(text: str, texts: Mapping[str, str]) -> str:
    """Return the text with ③ as the third option's letter, or as 3 where the options have numbers of their own."""
    has_numbers = any(c.isdigit() for letter, option in texts.items() for c in letter + option)
    letters = list(texts)

    def replace(match: re.Match[str]) -> str:
        number = ord(match[0]) - ord("①")
        return f" {letters[number]} " if number < len(letters) and not has_numbers else f" {number + 1} "

    return _CIRCLE.sub(replace, text)
