"""Writes mathematics of any notation in one plain LaTeX: Unicode symbols, spacing commands, `\\text`, Markdown, typed
mathematics (`sqrt(2)`, `2*pi`, `10**3`) and line breaks."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

WORD_MARK = "\ue000"
"""Stands before a word that LaTeX marks as text: `\\text{cm}` becomes this character and `cm`, which is no product c·m."""
EDGE = "\ue001"
"""Stands for the delimiters of a formula: `$`, `\\(`, `\\]`, …"""

_SYMBOLS = {
    **dict.fromkeys("−‒–﹣⁃‐‑", "-"),
    **dict.fromkeys("×✕⨯", "\\times "),
    **dict.fromkeys("·⋅∙", "\\cdot "),
    **dict.fromkeys("∗＊", "*"),
    **dict.fromkeys("≤⩽≦", "\\le "),
    **dict.fromkeys("≥⩾≧", "\\ge "),
    **dict.fromkeys("≈≃≅", "\\approx "),
    **dict.fromkeys(
        "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t", " "
    ),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""),
    "÷": "/",
    "⁄": "/",
    "∕": "/",
    "≠": "\\ne ",
    "±": "\\pm ",
    "∓": "\\mp ",
    "∞": "\\infty ",
    "∪": "\\cup ",
    "∩": "\\cap ",
    "∈": "\\in ",
    "∅": "\\emptyset ",
    "∖": "\\setminus ",
    "°": "^{\\circ}",
    "º": "^{\\circ}",
    "˚": "^{\\circ}",
    "℃": "^{\\circ}C",
    "℉": "^{\\circ}F",
    "…": "\\ldots ",
    "⟨": "\\langle ",
    "⟩": "\\rangle ",
    "、": ",",
    "。": ".\n",
    "π": "\\pi ",
    "θ": "\\theta ",
    "α": "\\alpha ",
    "β": "\\beta ",
    "γ": "\\gamma ",
    "δ": "\\delta ",
    "λ": "\\lambda ",
    "μ": "\\mu ",
    "σ": "\\sigma ",
    "φ": "\\phi ",
    "ω": "\\omega ",
    "ε": "\\epsilon ",
    "Δ": "\\Delta ",
    "Ω": "\\Omega ",
    "∛": "\\sqrt[3]",
    "√": "\\sqrt",
    "ℝ": "\\mathbb{R}",
    "ℤ": "\\mathbb{Z}",
    "ℕ": "\\mathbb{N}",
    "∠": "\\angle ",
}
_POWERS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_INDICES = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_POWER_RUN, _INDEX_RUN = re.compile(f"[{''.join(_POWERS)}]+"), re.compile(f"[{''.join(_INDICES)}]+")

_BRACE_GROUP = r"\{((?:[^{}]++|\{[^{}]*+\})*+)\}"  # one group in braces, with one more level inside
_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|normal)?|mathrm|mathbf|mathit|mathsf|mathtt|boldsymbol|bm|mbox|hbox|operatorname\*?|emph)\s*"
    + _BRACE_GROUP
)
_FONT = re.compile(r"\{\s*\\(?:rm|bf|it|tt|sf)(?![a-zA-Z])\s*([^{}]*)\}")
_FONT_LETTER = re.compile(r"\\(mathbf|mathrm|mathbb|mathcal|boldsymbol|text)\s+([A-Za-z])(?![A-Za-z])")
_WORD = re.compile(r"(?<![\\a-zA-Z])([^\W\d_]{2,})")
_THOUSANDS_MARK = re.compile(r"(?<=\d)\s*(?:\{\s*,\s*\}|,?\\[,!;: ])\s*(?=\d{3}(?!\d))")  # 1{,}234  1\,234  12,\!000
# Commands whose backslash a JSON escape has doubled: no line of a matrix begins so
_DOUBLE_ESCAPE = re.compile(
    r"(?<!\\)\\\\(?=(?:[dtc]?frac|sqrt|d?binom|boxed|text(?:bf|it)?|math(?:rm|bf|bb|cal|it)|left|right|begin|end|pi|theta|infty|cdot|times"
    r"|circ|degree|le|leq|ge|geq|ne|neq|pm|mp|in|cup|cap|setminus|emptyset|langle|rangle|approx|sin|cos|tan|log|ln|[lc]?dots"
    r"|quad|qquad|overline)(?![a-zA-Z]))"
)
_BEFORE_UNIT = re.compile(r"(?:\d\}?|\\frac\{|\}\{|/|\\cdot)(?:\s|~|\\[, ])*\Z")
_RECURRING = re.compile(r"(?<![\d.])(\d*)\.(\d{2,40})\s*\\ldots")
# An amount of money that ends its line, brackets or formula, or has its price behind it. Within a calculation the sign goes;
# that of pounds (a mass too) and of yen (and yuan) go everywhere.
_MONEY = re.compile(
    r"(?<![\w\\])(-?\s?)(\\+\$|€|₹)\s?(-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?:\s(?:thousand|million|billion))?)(?![\d,.]*\d)"
    r"(?=\s?(?:[.!]?\s*(?:[})\n]|\\[)\]]|\$|\Z)|(?:per|each|an?)\s+[a-z]|/\s?[a-z]))"
)
_CURRENCIES = {"$": "dollars", "€": "euros", "₹": "rupees"}
# Patterns and what takes their place, in this order
_REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\[clv]?dots[bcmio]?(?![a-z])|\.{3,}", r"\\ldots "),
        (r"\^\s*\{\s*o\s*\}(?<=[\d.]\^\{o\})", r"^{\\circ}"),  # \text{o} for the degree sign
        (r"\\lbrack(?![a-z])", "["),
        (r"\^\s*\{?\s*\\prime\s*\}?", "'"),
        (r"\\underline\s*(?=\{)", ""),
        (r"(?<=\d)\{\.\}(?=\d)", "."),
        (r"\\rbrack(?![a-z])", "]"),
        (r"\{\s*:\s*\}", ":"),
        (r"\{((?:[^{}]|\{[^{}]*\})*?)\\over(?![a-z])((?:[^{}]|\{[^{}]*\})*)\}", r"\\frac{\1}{\2}"),
        (r"\{((?:[^{}]|\{[^{}]*\})*?)\\choose(?![a-z])((?:[^{}]|\{[^{}]*\})*)\}", r"\\binom{\1}{\2}"),
        (r"\\[dt]binom(?![a-z])", r"\\binom"),
        (r"\\backslash(?![a-z])|(?<=\\mathbb\{R\})\s*-\s*(?=\\\{)", r"\\setminus "),
        (r"\\\{\s*\\\}", r"\\emptyset "),
        (r"\\+\$|[€£¥₹]", " "),  # a currency sign
        (r"\\+\"", '"'),
        (r"\+/-", r"\\pm "),
        (r"\\(begin|end)\{(\w+)\*\}", r"\\\1{\2}"),
        (r"\$\$?|(?<!\\)\\[()\[\]]", EDGE),
        (r"\\(?:displaystyle|textstyle|limits|nolimits|left|right|middle|[bB]ig{1,2}[lrm]?|[bB]igg[lrm]?|hfill|thinspace)(?![a-zA-Z])\.?", ""),
        (r"\\(?:boxed|fbox)\s*(?=\{)", ""),
        (r"\\!", ""),
        (r"\\[,;:>]|(?<!\\)\\ |~|\\q?quad|\\(?:hspace|vspace|phantom)\*?\{[^{}]*\}", " "),
        (r"\\[dtc]frac(?![a-z])", r"\\frac"),
        (r"\\(?:leq|leqslant|leqq)(?![a-z])|<=|=<", r"\\le "),
        (r"\\(?:geq|geqslant|geqq)(?![a-z])|>=", r"\\ge "),
        (r"\\neq(?![a-z])|!=|\\not\s*=", r"\\ne "),
        (r"\\lt(?![a-z])", "<"),
        (r"\\gt(?![a-z])", ">"),
        (r"\\(?:simeq|cong|thickapprox)(?![a-z])", r"\\approx "),
        (r"\\div(?![a-z])", "/"),
        (r"\\colon(?![a-z])", ":"),
        (r"\\(?:lvert|rvert|vert|mid)(?![a-z])", "|"),
        (r"\\\{([^{}:|,]{1,40}):(?=[^{}]*(?:\\in(?![a-z])|[<>=]|\\[lgn]e))", r"\\{\1|"),  # {x : x > 2}
        (r"\\lbrace(?![a-z])", r"\\{"),
        (r"\\rbrace(?![a-z])", r"\\}"),
        (r"\\(?:infin|inf)(?![a-z])", r"\\infty "),
        (r"\\varnothing(?![a-z])", r"\\emptyset "),
        (r"\\(?:degree|deg)(?![a-z])|\^\s*\\circ(?![a-z])|\^\s*\{\s*\\circ\s*\}|\\textdegree", r"^{\\circ}"),
        (r"\\%|\\percent(?![a-z])|％", "%"),
        (r"\\(?:bar|dot|overline)\s*\{(\d+)\}", r"\\overline{\1}"),
        (r"(\d)\\(?:bar|dot|overline)\s*(\d)", r"\1\\overline{\2}"),
        (r"(?<=[\w)}])\*\*(?=[-\d({])", "^"),  # Python's power; other ** are Markdown's
        (r"\*\*|(?<![\w)}\s])\*(?=\S)|(?<=\S)\*(?![\w({\\\s])|(?<!\w)__|__(?!\w)|`", " "),
        (r"\*", r"\\cdot "),
        (rf"(?<![\\A-Za-z]){WORD_MARK}?(?:[Ii]nfinity|oo)(?![A-Za-z])", r"\\infty "),
        (r"(?<![\\A-Za-z])[pP]i(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])(?:sqrt|Sqrt)\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"(?<![\\A-Za-z])exp\s*\(([^()]*)\)|\\exp\s*\(([^()]*)\)|\\exp\s*\{([^{}]*)\}", r"e^{\1\2\3}"),
        (r"(?<![\\A-Za-z])(sin|cos|tan|log|ln|arcsin|arccos|arctan)(?=\s*[\d({\\])", r"\\\1 "),
        (r"\\sqrt\s*(\[[^][]*\])?\s*(\d|[a-zA-Z](?![a-zA-Z])|\\[a-z]+)", r"\\sqrt\1{\2}"),
        (r"\\sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\\frac\s*([^\s{}\\])\s*([^\s{}\\])", r"\\frac{\1}{\2}"),
        (r"\\frac\s*([^\s{}\\])\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*([^\s{}\\])", r"\1{\2}"),
        (r"\^\s*(-?\d|[a-zA-Z]|\\[a-z]+)(?!\d)", r"^{\1}"),
        (r"\^\s*\(([^()]*)\)", r"^{\1}"),
        (r"\^\s*(-?\d+)", r"^{\1}"),
        (r"_\s*(\d+|[a-zA-Z])", r"_{\1}"),
        (r"\\begin\{(?:d|r)cases\}", r"\\begin{cases}"),
        (r"\\end\{(?:d|r)cases\}", r"\\end{cases}"),
        (r"\\begin\{array\}\s*\{[^{}]*\}", r"\\begin{array}"),
        (r"\\\{\s*\\begin\{array\}((?:(?!\\begin|\\end).)*)\\end\{array\}", r"\\begin{cases}\1\\end{cases}"),
    )
]  # fmt: skip
# 1 234 567, 1'000 or 1_000: groups of three after one separator
_MARKED_NUMBER = re.compile(
    r"(?<![\w.,'’^{])\d{1,3}(?P<mark>['’_ ])\d{3}(?:(?P=mark)\d{3})*(?![\w'’^_]|[.,/]\d|\s*\\frac)"
)


@lru_cache(maxsize=512)  # a group's samples share their gold and often their answers
def plain(text: str) -> str:
    """Return the text in the one notation that `rewards.answers` reads. Line breaks stay where they may part answers;
    within an environment and beside a comma they go."""
    text = _DOUBLE_ESCAPE.sub(r"\\", text)
    if "\\begin" not in text:
        # A doubled escape of `\{`; within an environment `\\` would end a row.
        text = re.sub(r"(?<!\\)\\\\(?=[{}])", r"\\", text)
    text = "".join(_ascii_of(char) for char in text)
    text = _FONT.sub(r"\\text{\1}", _FONT_LETTER.sub(r"\\\1{\2}", text))
    text = _POWER_RUN.sub(lambda run: "^{" + "".join(_POWERS[c] for c in run[0]) + "}", text)
    text = _INDEX_RUN.sub(lambda run: "_{" + "".join(_INDICES[c] for c in run[0]) + "}", text)
    text = _MARKED_NUMBER.sub(lambda number: re.sub(r"['’_ ]", "", number[0]), _THOUSANDS_MARK.sub("", text))
    text = _MONEY.sub(_with_currency, text)
    for _ in range(3):  # texts within texts
        text = _TEXT.sub(_marked_words, text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    text = re.sub(r"(?<=[\d}])\s+(?=\^\{\\circ\})", "", text)
    text = _RECURRING.sub(_with_overline, text)
    text = _join_lines(text)
    return re.sub(r"[ \r]+", " ", text).strip()


def _with_currency(money: re.Match[str]) -> str:
    """Return an amount with its currency as a unit behind it, or without it where the formula holds other amounts: of
    `\\$2:\\$3` the last one alone would have a unit."""
    before = re.split(r"[{\n]|\\\\[(\[]", money.string[: money.start()])[-1]
    if re.search(r"\\\$|€|₹", before):
        return money[0]  # whose sign is dropped later
    return f"{money[1].strip()}{money[3]} {WORD_MARK}{_CURRENCIES[money[2][-1]]}"


def without_marks(text: str) -> str:
    """Return the words of a plain text as a person would write them, without marks."""
    return " ".join(text.replace(WORD_MARK, "").replace(EDGE, " ").split())


def latex(text: str) -> str:
    """Return a plain text as LaTeX that math-verify reads: its marked words back in `\\text{}`."""
    return re.sub(rf"{WORD_MARK}(\w+)", r"\\text{\1}", text).replace(EDGE, " ")


def _ascii_of(char: str) -> str:
    """Return a character's plain form: full-width and foreign digits, vulgar fractions and symbols have one."""
    if char < "\x7f" and char != "\t":
        return char
    if char in _SYMBOLS:
        return _SYMBOLS[char]
    if "\uff01" <= char <= "\uff5e":  # full-width forms of ASCII
        return chr(ord(char) - 0xFEE0)
    if char in _POWERS or char in _INDICES:
        return char
    if unicodedata.category(char) == "No" and "FRACTION" in unicodedata.name(char, ""):
        top, _, bottom = unicodedata.normalize("NFKC", char).partition("⁄")
        return f"\\frac{{{top}}}{{{bottom}}}" if bottom else char
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.digit(char))
    return char


def _with_overline(match: re.Match[str]) -> str:
    """Return a decimal fraction that goes on, 0.1666…, with its repeating digits overlined; without dots where none repeat."""
    whole, digits = match[1], match[2]
    for length in range(1, len(digits) // 2 + 1):
        block = digits[-length:]
        repeats = 1
        while digits.endswith(block * (repeats + 1)):
            repeats += 1
        # Two equal digits at the end may be chance: 0.33… stays 0.33, 0.333… is a third.
        if repeats * length >= 3 and repeats > 1:
            return f"{whole}.{digits[: -length * repeats]}\\overline{{{block}}}"
    return f"{whole}.{digits}"


def _marked_words(match: re.Match[str]) -> str:
    content = match[1]
    if len(content.strip()) == 1:  # \mathrm{e} is e, but 5\text{ m} five metres
        is_unit = content.strip() in "mshgLNJWVCKF" and _BEFORE_UNIT.search(
            match.string, max(0, match.start() - 12), match.start()
        )
        return f" {WORD_MARK}{content.strip()} " if is_unit else content.strip()
    words = _WORD.sub(WORD_MARK + r"\1", content)
    return f" {words} "


def _join_lines(text: str) -> str:
    """Return the text with the line breaks that cannot part two answers turned to spaces."""
    if "\n" not in text:
        return text
    lines: list[str] = []
    depth = 0
    for line in text.split("\n"):
        line = line.strip()
        open_before = depth > 0 or (lines and lines[-1][-1:] in ",=+-([{&\\") or line[:1] in "=,)]}&"
        if lines and open_before:
            lines[-1] = f"{lines[-1]} {line}"
        elif line:
            lines.append(line)
        depth = max(0, depth + _openings(line))
    return "\n".join(lines)


def _openings(line: str) -> int:
    """Return by how much a line opens more brackets and environments than it closes."""
    begins = line.count("\\begin{") - line.count("\\end{")
    return begins + sum(line.count(c) for c in "([{") - sum(line.count(c) for c in ")]}")
