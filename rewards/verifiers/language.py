"""Language: the share of a turn's letters that are in a given language, or in the prompt's."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import Any, Literal  # Any: py3langid has no types

import py3langid.langid as langid

from rewards.contract import Case
from rl.config import ConfigError, did_you_mean
from rl.think import THINK_CLOSE, THINK_OPEN
from rl.types import Prompt, Rollout, Verdict

_NOT_PROSE = re.compile(
    rf"```.*?(?:```|\Z)|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\[a-zA-Z]+|<[^>\n]*>|https?://\S+|{THINK_OPEN}|{THINK_CLOSE}",
    re.DOTALL,
)
_PIECE = re.compile(r"[^.!?。！？;；\n]+")
_SCRIPTS = {
    **dict.fromkeys(("ru", "uk", "bg", "sr", "mk", "be", "kk", "ky", "mn"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "ug"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    "zh": ("CJK",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ko": ("HANGUL", "CJK"),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "th": ("THAI",),
    "ka": ("GEORGIAN",),
    "hy": ("ARMENIAN",),
    "bn": ("BENGALI",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "kn": ("KANNADA",),
    "ml": ("MALAYALAM",),
    "gu": ("GUJARATI",),
    "pa": ("GURMUKHI",),
    "km": ("KHMER",),
    "lo": ("LAO",),
    "am": ("ETHIOPIC",),
    "si": ("SINHALA",),
}
_DISTINCTIVE = {"ja": ("HIRAGANA", "KATAKANA"), "ko": ("HANGUL",)}  # a text without any of these is Chinese
_MIN_LETTERS = 40  # the classifier is only asked about pieces with at least this many: of shorter ones it guesses
_MIN_PROBABILITY = 0.05  # of the right language, with which a piece passes: it often ranks close relatives first


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    language: str | None = None,
    where: Literal["all", "reasoning", "response"] = "all",
) -> Verdict:
    """Score the share of letters that are in `language` (an ISO 639-1 code), by default the language of the prompt's last
    question. The text is judged sentence by sentence. Letters of foreign scripts never count; short sentences in the right
    script always do. Code, formulas and tags are left out; `where` is all, reasoning or response. 1.0 where no letter is
    left. Raises ConfigError for a language that cannot be recognised."""
    texts = {"all": rollout.text, "reasoning": rollout.reasoning, "response": rollout.response}
    if where not in texts:
        raise ConfigError(f"language: unknown where '{where}'{did_you_mean(where, texts)}")
    code = language or detect_language(prompt.question) or "en"
    if code not in supported_languages():
        raise ConfigError(f"language: '{code}' cannot be recognised; known: {', '.join(sorted(supported_languages()))}")
    right = total = 0
    text = _NOT_PROSE.sub(" ", texts[where])
    distinctive_letters = sum(_count_scripts(text)[script] for script in _DISTINCTIVE.get(code, ()))
    for piece in _PIECE.findall(text):
        counts = _count_scripts(piece)
        total += counts.total()
        # decided over the whole text: a Japanese sentence may well be of Chinese characters alone
        if distinctive_letters or code not in _DISTINCTIVE:
            right += _count_right(piece, counts, code)
    share = right / total if total else 1.0
    return Verdict(share, reason="" if share == 1.0 else f"{share:.0%} of the letters are in '{code}'")


@cache
def supported_languages() -> frozenset[str]:
    """Return the codes of the languages that can be recognised."""
    return frozenset(_identifier().labels)


def detect_language(text: str) -> str | None:
    """Return the code of a text's most likely language; None where it has no letters."""
    text = _NOT_PROSE.sub(" ", text)
    return _rank(text)[0][0] if _count_scripts(text).total() else None


def _count_right(piece: str, counts: Counter[str], code: str) -> int:
    """Return how many of a piece's letters are in the language, by its script and, in a longer piece, its words."""
    scripts = _SCRIPTS.get(code, ("LATIN",))
    letters = sum(counts[script] for script in scripts)
    if scripts == ("CJK",) or code in _DISTINCTIVE or letters < _MIN_LETTERS:  # the script alone decides
        return letters
    probabilities = dict(_rank(piece))
    return letters if probabilities.get(code, 0.0) >= _MIN_PROBABILITY else 0


def _count_scripts(text: str) -> Counter[str]:
    """Return the number of letters in each script."""
    return Counter(_script(c) for c in text if c.isalpha())


@cache
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "OTHER")  # such as "CYRILLIC SMALL LETTER A" or "CJK UNIFIED IDEOGRAPH-58F0"
    return "CJK" if name.startswith("CJK") else name.partition(" ")[0].partition("-")[0]


@cache
def _identifier() -> Any:
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _rank(text: str) -> list[tuple[str, float]]:
    return _identifier().rank(text[:4000])  # characters: enough to rank by, in bounded time


_EN = {"language": "en"}
GOLD = [
    Case("<think>The voice rises at the end.</think>It is a question.", None, args=_EN),
    Case("The tempo is $\\frac{3}{4}$ and `print('Привет')` is code.", None, args=_EN),
    Case("Die Stimme klingt hell und fröhlich, also ist es vermutlich eine Frau.", None, args={"language": "de"}),
    Case("声音很低，所以是男人。", None, args={"language": "zh"}),
    Case("Голос звучит низко, и поэтому это мужчина.", None, args={"language": "ru"}),
    Case("42", None, args=_EN),
    Case("Die Stimme klingt hell und fröhlich, also ist es vermutlich eine Frau.", None, equal=False, args=_EN),
    Case("The voice is low 所以是男人 and calm.", None, equal=False, args=_EN),
    Case("The voice is low and calm, so it must be a man.", None, equal=False, args={"language": "zh"}),
]
