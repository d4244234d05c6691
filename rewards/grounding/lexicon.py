"""Split a sentence into tokens, each with its meaning for the parser: quantities, levels, comparisons, trends, counts,
moments, names, units.

The tables list the words in which chains make claims about sound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

QUANTITIES: dict[str, str] = {
    word: quantity
    for quantity, words in {
        "pitch": "pitch pitches f0 fundamental intonation melody frequency register tune",
        "loudness": "volume loudness amplitude intensity level energy power",
        "duration": "duration durations length dur",
        "brightness": "brightness centroid timbre timbres spectrum",
        "rate": "tempo pace rate speed rhythm",
        "elsewhere": "range sampling sample variation bandwidth confidence interval distance pause pauses gap gaps silence "
        "attack decay release vowel probability likelihood chance resolution answer "
        "difference phase order number amount notice reverb echo",
    }.items()
    for word in words.split()
}
"""Noun -> its quantity; `elsewhere`: adjectives and numbers beside it claim nothing that is measured."""

# Quantity (None: the one that the sentence names), direction, and the three degrees; `_` where a degree has no word.
_ADJECTIVES: tuple[tuple[str | None, int, str], ...] = (
    (None, 1, "high higher highest"),
    (None, -1, "low lower lowest"),
    (None, 1, "great greater greatest"),
    (None, -1, "small smaller smallest"),
    ("pitch", 1, "high-pitched higher-pitched highest-pitched"),
    ("pitch", -1, "low-pitched lower-pitched lowest-pitched"),
    ("pitch", -1, "deep deeper deepest"),
    ("loudness", 1, "loud louder loudest"),
    ("loudness", 1, "_ stronger strongest"),
    ("loudness", -1, "soft softer softest"),
    ("loudness", -1, "quiet quieter quietest"),
    ("loudness", -1, "faint fainter faintest"),
    ("loudness", -1, "_ weaker weakest"),
    ("duration", 1, "long longer longest"),
    ("duration", -1, "short shorter shortest"),
    ("duration", -1, "brief briefer briefest"),
    ("brightness", 1, "bright brighter brightest"),
    ("brightness", -1, "dark darker darkest"),
    ("brightness", -1, "dull duller dullest"),
    ("brightness", -1, "muffled _ _"),
    ("rate", 1, "fast faster fastest"),
    ("rate", 1, "rapid _ _"),
    ("rate", 1, "quick quicker quickest"),
    ("rate", -1, "slow slower slowest"),
)
LEVELS: dict[str, tuple[str | None, int]] = {}
COMPARATIVES: dict[str, tuple[str | None, int]] = {}
SUPERLATIVES: dict[str, tuple[str | None, int]] = {}
"""Adjective in its degree -> (quantity, direction)."""
for _quantity, _sign, _words in _ADJECTIVES:
    for _degree, _adjective in zip((LEVELS, COMPARATIVES, SUPERLATIVES), _words.split(), strict=True):
        _degree[_adjective] = (_quantity, _sign)

TRENDS: dict[str, tuple[str | None, int]] = {
    word: (quantity, sign)
    for quantity, sign, words in (
        (None, 1, "rising rises rise rose ascending ascends upward upwards climbing climbs increasing increases"),
        (
            None,
            -1,
            "falling falls fall fell descending descends downward downwards dropping drops decreasing decreases",
        ),
        (None, 0, "flat steady constant stable"),
        ("pitch", 0, "monotone"),
        ("loudness", 1, "crescendo swells"),
        ("loudness", -1, "diminuendo decrescendo fades fading"),
    )
    for word in words.split()
}
"""Word -> (the quantity that changes, None for the one that the sentence names, direction)."""

COUNT_NOUNS: dict[str, str] = {
    word: kind
    for kind, words in (
        (
            "beats",
            "beat beats click clicks pulse pulses hit hits tap taps knock knocks tick ticks beep beeps stroke strokes",
        ),
        ("beats", "tone tones note notes onset onsets burst bursts blip blips"),
        ("words", "word words digit digits segment segments phrase phrases utterance utterances"),
        ("count", "sound sounds event events bark barks part parts"),
    )
    for word in words.split()
}
"""Noun -> what is counted: `beats` have short pauses between them, `words` longer ones, `count` may be either."""
_CARDINALS = "zero one two three four five six seven eight nine ten eleven twelve"
_ORDINALS = "first second third fourth fifth sixth seventh eighth"
NUMBERS = {**{word: i for i, word in enumerate(_CARDINALS.split())}, "single": 1}
"""Cardinal -> its number."""
ORDINALS = {word: i for i, word in enumerate(_ORDINALS.split())}
ORDINALS.update({"1st": 0, "2nd": 1, "3rd": 2, "4th": 3, "5th": 4, "former": 0, "latter": 1, "last": -1})
"""Ordinal -> index of the sound that it names."""
STAGES = frozenset(("then", "later", "afterwards", "finally"))
"""Words after which a sentence speaks of a later sound."""
MOMENTS = {
    word: moment
    for moment, words in (
        ("start", "start starts starting begin begins beginning initially onset"),
        ("end", "end ends ending finish finishes finishing"),
    )
    for word in words.split()
}
"""Word -> the end of a sound that it speaks of."""
TIMES = frozenset(("half", "second", "seconds", "moment", "moments", "instant", "time", "times", "thing"))
"""Nouns after which an ordinal names no sound."""
_PLAYED_THINGS = (
    "clip audio recording sample voice track signal file sound tone note speaker segment excerpt whole one contour person "
    "utterance word digit melody answer result"
)
GENERIC = frozenset(_PLAYED_THINGS.split())
"""Subjects that mean the clip as a whole, not a thing within it."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word or a number of a sentence with its meaning."""

    kind: str
    """number, range, subject, cardinal, quantity, level, more, most, trend, count, word, stop, or a kind of
    `_FUNCTION_WORDS`."""
    text: str
    value: Any = None  # what its kind has: (number, unit), (quantity, direction), an index, …


_BEFORE_NUMBER = rf"(?= (?:-?\d|(?:{_CARDINALS.replace(' ', '|')})\b))"
# Phrases of several words, each replaced by a word of the tables before the sentence is split.
_PHRASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[–—−](?=\d)", "-"),
        (r"[–—]", " , "),
        (r"n['’]t\b|\bcannot\b", " not"),
        (r"\b(high|higher|highest|low|lower|lowest)[ -](?=pitched)", r"\1-"),
        (r"\b(?:going|goes|went|moves|moving|glides|gliding|sweeps|sweeping|slides) up(?:ward|wards)?\b", "rising"),
        (r"\b(?:going|goes|went|moves|moving|glides|gliding|sweeps|sweeping|slides) down(?:ward|wards)?\b", "falling"),
        (r"\bhalf a second\b", "0.5 s"),
        (r"\b(a|one) second\b(?= (?:long|in|of|and)|[.,]|$)", "1 s"),
        (r"\b(?:times|events|beats|clicks|taps|hits|onsets|pulses|bursts|syllables) (?:per|a|each) second\b", "/s"),
        (r"\bper second\b", "/s"),
        (r"\bit(?: is|['’]s) (?:false|untrue|wrong|not (?:true|the case|so))(?: to say)? that\b", "not"),
        (r"\bbeats per minute\b", "bpm"),
        (r"\bnot only\b|\bno doubt\b|\bno longer\b(?! than)|\bhigh quality\b", ""),
        (
            rf"\b(?:less than|fewer than|under|at most|lower than|shorter than|smaller than|up to|no more than){_BEFORE_NUMBER}",
            "below",
        ),
        (
            rf"\b(?:more than|over|at least|greater than|higher than|longer than|exceeds?|exceeding|upwards of){_BEFORE_NUMBER}",
            "above",
        ),
        (r"\b(high|low)[ -](?:frequencies|frequency (?:content|energy|components|emphasis))", r"\1 brightness "),
        (r"\b(?:spectral )?(?:centroid|center of gravity|centre of gravity)\b", "centroid"),
        (
            r"\b(?:compared (?:with|to)|relative to|unlike|as opposed to|versus|vs\.?|in contrast (?:to|with)|against)(?=\W)",
            "versus",
        ),
        (r"(?<=\w)-wise\b", " "),
        (r"\bsampl(?:ing|e) (?:rate|frequency)\b|\bsampled\b", "sampling"),
        (r"\bfund(?:amental)? freq(?:uency)?\b", "fundamental"),
        (
            r"\b(?:un|without (?:a |any )?(?:clear |definite |stable )?|no (?:clear |definite |stable |discernible |real )?)pitch(?:ed)?\b",
            "unpitched",
        ),
    )
)
_UNIT = r"k?hz|k|ms|milliseconds?|s|secs?|seconds?|db(?:fs)?|decibels?|bpm|/ ?s"
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
# Alternatives are tried in this order: a range before its numbers, a number with its unit, a name before its noun.
_TOKEN = re.compile(
    rf"(?P<range>\bbetween (?P<l1>-?{_NUMBER}) ?(?:{_UNIT})? and (?P<h1>-?{_NUMBER}) ?(?P<u1>{_UNIT})"
    rf"|(?<![\w.])(?P<l2>-?{_NUMBER})(?: ?- ?| to )(?P<h2>-?{_NUMBER}) ?(?P<u2>{_UNIT}))(?![\w-])"
    rf"|(?<![\w.])(?P<number>-?{_NUMBER}) ?(?P<unit>{_UNIT})?(?![\w-])"
    r"|\b(?P<subject>(?:clip|audio|recording|sample|voice|track|signal|file|sound|tone|note|speaker|segment|part|word|digit"
    r"|excerpt) ?(?:#|number |no\.? ?)?(?P<name>[1-9]|(?<=[ #])(?:[b-d]|one|two|three|four"
    r"|a(?= (?:is|has|was|sounds|lasts|and|at|than)\b|[^\w\s]|$))))\b(?!-)"
    r"|(?P<word>[a-z][a-z0-9]*(?:[-’'][a-z]+)*)|(?P<stop>[,:()/|])|(?P<sign>[<>])"
)
_UNIT_FACTOR = {
    "khz": 1000.0,
    "k": 1000.0,
    "ms": 0.001,
    "milliseconds": 0.001,
    "millisecond": 0.001,
    "bpm": 1 / 60,
}  # rates are per second
# A bare `k` is brightness: the chains of the listening tasks write it as `1.2k`.
OF_UNIT = {"hz": "pitch", "khz": "pitch", "k": "brightness", "bpm": "rate", "/s": "rate", "/ s": "rate"}
"""Unit -> the quantity of a number with it."""
OF_UNIT.update(
    dict.fromkeys(("s", "sec", "secs", "second", "seconds", "ms", "millisecond", "milliseconds"), "duration")
)
OF_UNIT.update(dict.fromkeys(("db", "dbfs", "decibel", "decibels"), "loudness"))
_NAMES = {"a": 0, "b": 1, "c": 2, "d": 3, "one": 0, "two": 1, "three": 2, "four": 3}
_FUNCTION_WORDS = {
    "than": "than", "versus": "versus", "as": "as", "not": "not", "never": "not", "neither": "not", "nor": "not",
    "hardly": "not", "no": "not", "above": "above", "below": "below", "from": "from", "to": "to", "but": "stop",
    "while": "stop", "whereas": "stop", "and": "stop", "so": "stop", "because": "stop", "since": "stop", "then": "stop",
    "though": "stop", "although": "stop", "is": "is", "are": "is", "was": "is", "has": "is", "sounds": "is",
    "at": "at", "after": "at", "before": "at", "until": "at", "within": "at", "every": "at", "less": "less", "more": "more",
    "gets": "become", "getting": "become", "becomes": "become", "becoming": "become", "grows": "become",
    "growing": "become", "turns": "become", "same": "same", "equal": "same", "equally": "same", "identical": "same",
    "similar": "same", "too": "too", "or": "or", "both": "both", "other": "other", "unpitched": "unpitched",
}  # fmt: skip


def tokenize(sentence: str) -> list[Token]:
    """Split a sentence in lower case into tokens."""
    for pattern, replacement in _PHRASES:
        sentence = pattern.sub(replacement, sentence)
    tokens: list[Token] = []
    for m in _TOKEN.finditer(sentence):
        text = m[0].strip()
        if m["range"]:
            unit = m["u1"] or m["u2"]
            low, high = _value(m["l1"] or m["l2"], unit), _value(m["h1"] or m["h2"], unit)
            tokens.append(Token("range", text, (low, high, unit)))
        elif m["number"]:
            tokens.append(Token("number", text, (_value(m["number"], m["unit"]), m["unit"])))
        elif m["subject"]:
            index = _NAMES[m["name"]] if m["name"] in _NAMES else int(m["name"]) - 1
            tokens.append(Token("subject", text, index))
        elif m["word"]:
            tokens.append(_word(text))
        else:
            tokens.append(Token({"<": "below", ">": "above"}.get(text, "stop"), text))
    _share_units(tokens)
    _resolve_sounds(tokens)
    _resolve_letters(tokens)
    return tokens


def _share_units(tokens: list[Token]) -> None:
    """Give each number of a list the unit of the last one: `220, 330 and 440 Hz`."""
    unit: str | None = None
    for i in range(len(tokens) - 1, -1, -1):
        token = tokens[i]
        if token.kind == "number":
            value, number_unit = token.value
            unit = number_unit or unit
            tokens[i] = Token("number", token.text, (value if number_unit else _value(token.text, unit), unit))
        elif token.text not in (",", "and"):
            unit = None


def _resolve_sounds(tokens: list[Token]) -> None:
    """Read `sounds` as a noun after a number ("three sounds"), else as the verb that `_FUNCTION_WORDS` has it for."""
    for i, token in enumerate(tokens):
        if token.text == "sounds" and any(t.kind in ("cardinal", "number") for t in tokens[max(0, i - 2) : i]):
            tokens[i] = Token("count", token.text, COUNT_NOUNS[token.text])


def _resolve_letters(tokens: list[Token]) -> None:
    """Read the letters a to d as names of clips where they cannot be an article: "a is", "b 440", "than a"."""
    for i, token in enumerate(tokens):
        if token.text in tuple("abcd") and token.kind == "word":
            after = tokens[i + 1] if i + 1 < len(tokens) else Token("stop", "")
            after_than = i > 0 and tokens[i - 1].kind in ("than", "versus") and after.kind != "word"
            before_adjective = after.kind in ("more", "most") and token.text != "a"
            if after.kind in ("number", "range", "is") or after.text == ":" or after_than or before_adjective:
                tokens[i] = Token("subject", token.text, _NAMES[token.text])


def _value(digits: str, unit: str | None) -> float:
    return float(digits.replace(",", "")) * _UNIT_FACTOR.get(unit or "", 1.0)


def _word(text: str) -> Token:
    for kind, table in (
        ("function", _FUNCTION_WORDS), ("quantity", QUANTITIES), ("more", COMPARATIVES), ("most", SUPERLATIVES),
        ("level", LEVELS), ("trend", TRENDS), ("count", COUNT_NOUNS), ("cardinal", NUMBERS), ("subject", ORDINALS),
    ):  # fmt: skip
        if text in table:  # the first table that has the word wins
            return Token(str(table[text]) if kind == "function" else kind, text, table[text])
    return Token("word", text)
