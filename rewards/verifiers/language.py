"""Language: the share of a turn's letters that stands in the language asked for, or in the prompt's."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import cache
from typing import Any, Literal

import py3langid.langid as langid

from rewards.contract import Case
from rl.config import ConfigError, did_you_mean
from rl.types import THINK_CLOSE, THINK_OPEN, Prompt, Rollout, Verdict

_APART = re.compile(
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
_OWN = {"ja": ("HIRAGANA", "KATAKANA"), "ko": ("HANGUL",)}  # without any of it, characters are Chinese
_CERTAIN = 40  # letters from which one piece is enough to name its language
_DOUBT = 0.05  # a probability of the language asked for that lets a piece pass


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    language: str | None = None,
    where: Literal["all", "reasoning", "response"] = "all",
) -> Verdict:
    """The share of letters in pieces (sentences) that are in `language` (a code of ISO 639-1), or without it in that of
    the prompt's last question. Letters of foreign scripts never count; short pieces in the right script do. Code,
    formulas and tags are left out; `where` is all, reasoning or response. 1.0 where nothing is left. Raises ConfigError
    for a language that cannot be told."""
    texts = {"all": rollout.text, "reasoning": rollout.reasoning, "response": rollout.response}
    if where not in texts:
        raise ConfigError(f"language: unknown where '{where}'{did_you_mean(where, texts)}")
    wanted = language or spoken(prompt.question) or "en"
    if wanted not in known():
        raise ConfigError(f"language: '{wanted}' cannot be told; known: {', '.join(sorted(known()))}")
    right = total = 0
    text = _APART.sub(" ", texts[where])
    kana = sum(_counts(text)[script] for script in _OWN.get(wanted, ()))
    for piece in _PIECE.findall(text):
        counts = _counts(piece)
        total += counts.total()
        if kana or wanted not in _OWN:
            right += _right(piece, counts, wanted)
    share = right / total if total else 1.0
    return Verdict(share, reason="" if share == 1.0 else f"{share:.0%} of the letters are in '{wanted}'")


@cache
def known() -> frozenset[str]:
    """Codes of the languages that can be told apart."""
    return frozenset(_identifier().labels)


def spoken(text: str) -> str | None:
    """The language of a text; None where it has no letters."""
    text = _APART.sub(" ", text)
    return _rank(text)[0][0] if _counts(text).total() else None


def _right(piece: str, counts: Counter[str], wanted: str) -> int:
    scripts = _SCRIPTS.get(wanted, ("LATIN",))
    letters = sum(counts[script] for script in scripts)
    if scripts == ("CJK",) or wanted in _OWN or letters < _CERTAIN:
        return letters
    ranked = dict(_rank(piece))
    return letters if ranked.get(wanted, 0.0) >= _DOUBT else 0


def _counts(text: str) -> Counter[str]:
    """Letters by script."""
    return Counter(_script(c) for c in text if c.isalpha())


@cache
def _script(letter: str) -> str:
    name = unicodedata.name(letter, "OTHER")
    return "CJK" if name.startswith("CJK") else name.partition(" ")[0].partition("-")[0]


@cache
def _identifier() -> Any:
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _rank(text: str) -> list[tuple[str, float]]:
    return _identifier().rank(text[:4000])


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
