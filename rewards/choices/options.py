"""Reads which option of a multiple-choice question an answer chooses."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from rewards.answers.marks import BOX_ATOM, TAG_ATOM, is_enumeration, last_boxes
from rewards.answers.retractions import drop_denied, drop_retracted
from rewards.answers.texts import normalise_text
from rewards.choices.letters import name_letters, plain_text
from rewards.choices.statements import (
    CONCLUSION,
    CONCLUSION_END,
    JOINT,
    LEAD_IN,
    NO_ANSWER,
    NO_STATEMENT,
    OFFERS,
    POSTFIX,
    STATEMENT,
    WEAK_HEAD,
    list_start,
    match_end,
)

# what may follow "A" where it is an option's letter and no article, and "I" where it is no pronoun
_VERBS = (
    "is|seems|fits|matches|remains|or|and|nor|because|since|as|but|not|over|rather|instead|alone|by|with|due|if"
    "|ist|est|es|è|é|är|er|jest|n['’]est|no|oder|und|ou|et|y|o|e|parce|weil|porque|perché"
)
_ARTICLE = (
    rf"(?:A[^\S\n](?!(?:{_VERBS}|was|would|sounds|must|should|has|does|doesn['’]t|for|in|from|will|makes)\b)[a-z]"
    rf"|I[^\S\n](?!(?:{_VERBS})\b)[a-z]|[AI][^\S\n](?!(?:IS|OR|AND|NOR|BECAUSE|SINCE|AS|NOT|BUT)\b)[A-Z]{{2}})"
)
# neither a part of a word (X-ray, U.S.) nor of a formula (E = mc^2)
_LETTER = rf"(?<![\w'’+])(?<![A-Z]\.)\(?(?!{_ARTICLE})[A-Z](?![\w'’]|-[a-z]|[+#^]|\s?=|\.[A-Z]\.)\)?"
_FORMULA = re.compile(
    r"[=+^_\\<>≤≥≈∼→Δ∆∑∫|]|^\s*[-−]|(?<![A-Za-z])(?:[A-Za-z]|sin|cos|tan|log|ln|exp)\(|\d\s*[A-Z]\b|[A-Z]\s*/\s*\d"
)
_BOXES = re.compile(rf"{BOX_ATOM}(?:(?:\s|[,;/$.&]|\b(?:and|or)\b)*{BOX_ATOM})*|\\(?:boxed|fbox)\s*\{{[^{{}}]*\Z")
_BEFORE_FORMULA = re.compile(r"\s*(?=\([A-Z]\)(?:\s|$)|\(?[A-Z]\s?[).:]+(?:\s|$))")  # "(C) -3"
# a letter on a line of its own, and a line that begins with a letter as a list of options does
_LINE = re.compile(r"[^\w\n]*(?:(?:option|choice)\s+)?([A-Z])[^\w\n]*", re.I)
_ITEM = re.compile(r"[^\w\n]*[A-Z](?:[).:]|[^\w\n]*$)")
# between two statements that are offered together: "the answer is A or the answer is B"
_OR_STATES = re.compile(
    r"[\s,;./)]*(?:(?:or|and|nor|alternatively|oder|ou|或者?|또는|または)(?!\w)[\s,]*)+(?:\w+\s+){0,3}", re.I
)
_CLAUSE_END = re.compile(r"[\s)]*(?:$|[.,;:!?/|&(\n–—]|-\s|(?:or|and|because|since|as)(?!\w|\s+well))", re.I)
# "B. Paris; C. New York", where the options' texts are not known: up to six words, a joint, another labelled letter
_SHORT_TEXT = re.compile(
    r"(?:(?<=\))|[).:]+)\s*(?:[^\s.,;:!?|/]+[^\S\n]+){0,5}[^\s.,;:!?|/]+\s*(?:[;,|/\n]|\b(?:and|or)\b)\s*(?:and\s+|or\s+)?"
    r"(?=\([A-Z]\)|[A-Z](?:[).:]|$))"
)
_TEXT_THEN_OR = re.compile(r"[\s).:]*(?:[^\W\d_]{2,}\s+){1,4}?(?:or|/)\s+")  # "(D) a dog or (C)"
_CORRECTION = re.compile(r"\b(?:wait|actually|sorry|I\s+mean|correction|scratch)\b", re.I)
_SPACE, _AFTER_LABEL = re.compile(r"[\s(]*"), re.compile(r"[).:,]*\s*\(?")
# words of many uses: the "no" of "no doubt" chooses nothing
_IDIOMS = ("yes", "no", "true", "false", "right", "wrong", "correct", "incorrect", "none", "all", "both")
_LONGEST = 1000  # characters of an option's text
_MOST_STATEMENTS = 50  # statements of an answer that are looked at, from the last, and options that are offered in one


def read_options(options: object) -> dict[str, str]:
    """Return letter -> text of the options: from a list, or from a mapping of letters to texts; for None every letter of
    the alphabet with an empty text."""
    if options is None:
        return dict.fromkeys(string.ascii_uppercase, "")
    if isinstance(options, Mapping):
        return {str(k).upper(): str(v) for k, v in cast(Mapping[object, object], options).items()}
    return dict(zip(string.ascii_uppercase, map(str, cast(Sequence[object], options)), strict=False))


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """Return the letter of the one option that an answer chooses, else None: by its last statement ("the answer is C",
    \\boxed{C}, 答案是C), else by the letter or text that it begins with, by an option's text, or by the last letter that
    stands alone. An option that it denies or takes back is not chosen (`rewards.answers`)."""
    if is_enumeration(answer):
        return None
    texts = {letter: plain_text(text) for letter, text in options.items()}
    words = {letter: normalise_text(text) for letter, text in texts.items() if text.strip()}
    text = plain_text(answer)
    exact = [letter for letter, own in words.items() if own == normalise_text(text) and len(own) > 1]
    if len(exact) == 1:  # checked first, since an option's text may itself deny: "not given"
        return exact[0]
    reader = _Reader(texts, words, _label_pattern(tuple(texts)), _text_pattern(tuple(texts.values())))
    text, atom = name_letters(text, texts), _atom(reader.label.pattern, reader.text.pattern)
    # where "no" is an option, it corrects nothing unless more is said: "No. Yes would need a dog"
    may_correct = "no" not in words.values() or _CORRECTION.search(text)
    letters = reader.read(drop_retracted(text, atom) if may_correct else drop_denied(text, atom))
    return letters[0] if len(letters) == 1 else None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads which options a plain text names."""

    texts: Mapping[str, str]
    """Letter -> plain text of the option."""
    words: Mapping[str, str]
    """Letter -> normalised text, of the options that have one."""
    label: re.Pattern[str]
    """Pattern of an option's letter."""
    text: re.Pattern[str]
    """Pattern of any option's text."""

    def read(self, text: str) -> list[str]:
        """Return the letters that a whole answer chooses; none or several are no choice."""
        text, has_other_box = self._read_boxes(text)
        letters = self._read_statement(text, STATEMENT, POSTFIX)
        letters = letters or self._read_statement(
            text, CONCLUSION if self.is_lettered and not has_other_box else WEAK_HEAD
        )
        letters = letters or self._read_start(text) or self._find_texts(text)
        if letters or has_other_box or not self.is_lettered:
            return letters  # if a formula is boxed, letters in its derivation are no answer
        labels = [m.start() for m in self.label.finditer(text) if self._option(m)]
        # The last but one too: from it "A or B" is read as an offer of both, which the B alone does not show.
        last = [self._read_offer(text, start)[0] for start in labels[-2:]]
        return last[-1] if all(len(letters) == 1 for letters in last) and last else []

    @property
    def is_lettered(self) -> bool:
        """True where the options go by letters; a number that merely stands in a text names none."""
        return not any(map(str.isdigit, self.texts))

    def _read_boxes(self, text: str) -> tuple[str, bool]:
        """Return the text with a statement in place of each box that names options and without the others, and whether
        there are others."""
        has_other = False

        def replace_box(match: re.Match[str]) -> str:
            nonlocal has_other
            letters = [letter for content in last_boxes(match[0]) for letter in self._read_box(content)]
            has_other |= not letters
            return f"\n#### {' or '.join(letters)}\n" if letters else " "

        return _BOXES.sub(replace_box, text), has_other

    def _read_box(self, content: str) -> list[str]:
        if not self.words and re.fullmatch(r"\s*[k-z]\s*", content):  # without options: a variable
            return []
        content = name_letters(content, self.texts)
        if not _FORMULA.search(content):
            return self.read(content)
        label = _BEFORE_FORMULA.match(content)
        return (self._read_offer(content, label.end())[0] if label else []) or self._find_texts(content)

    def _read_statement(self, text: str, head: re.Pattern[str], postfix: re.Pattern[str] | None = None) -> list[str]:
        """Return the options that the last statement names: what stands behind a head ("the answer is"), before a postfix
        ("is correct"), or on the last line alone."""
        places = [(m.start(), m.end()) for m in head.finditer(text)]
        if postfix:
            labels = list(self.label.finditer(text))
            firsts = [list_start(text, labels, i) for i, m in enumerate(labels) if postfix.match(text, m.end())]
            places += [(labels[i].start(), labels[i].start()) for i in firsts]
            places += [(start, start) for start in self._find_lone_letter(text)]
        later: tuple[int, list[str]] | None = None  # start and options of the last statement
        for start, end in sorted(places, reverse=True)[:_MOST_STATEMENTS]:
            if NO_STATEMENT.search(text, max(0, start - 60), start):
                continue
            begin = match_end(LEAD_IN, text, end)
            if postfix and later is None and NO_ANSWER.match(text, begin):
                return []
            letters, stop = self._read_offer(text, begin)
            if postfix is None and not (letters and CONCLUSION_END.match(text, stop)):
                continue
            letters = letters or self._find_texts(text[begin : begin + _LONGEST].partition("\n")[0])
            if later and letters:
                offers_both = stop < later[0] and _OR_STATES.fullmatch(text, stop, later[0])
                return [*letters, *later[1]] if offers_both else later[1]
            later = (start, letters) if letters else later
        return later[1] if later else []

    def _find_lone_letter(self, text: str) -> list[int]:
        """Return where the letter stands that is the last line alone, below something else than a list of options."""
        above, newline, line = text.rstrip().rpartition("\n")
        lone = _LINE.fullmatch(line)
        if not lone or not newline or _ITEM.match(above.rstrip().rpartition("\n")[2]):
            return []
        return [len(above) + 1 + lone.start(1)]

    def _read_start(self, text: str) -> list[str]:
        """Return the options that a text begins with: a letter, or a text that is a whole clause."""
        start = match_end(_SPACE, text, 0)
        letters, end = self._read_offer(text, start)
        is_clause = self.label.match(text, start) or len(letters) > 1 or _CLAUSE_END.match(text, end)
        return letters if is_clause else []

    def _read_offer(self, text: str, start: int) -> tuple[list[str], int]:
        """Return (letters, end) of the options that stand at a place of the text: one, or several that are offered
        together, as in "B or C", "A, B, C", "A B", "B or a cat", "B. Paris; C. New York"."""
        option, letters, end = self._read_mention(text, start), list[str](), start
        for _ in range(_MOST_STATEMENTS):
            if not option:
                break
            letter, end = option
            letters += [letter] if letter not in letters else []
            option = self._read_second(text, end, is_text=not self.label.match(text, start))
        return letters, end

    def _read_mention(self, text: str, start: int) -> tuple[str, int] | None:
        """Return (letter, end) of the option that stands at a place: its letter, its text, or both."""
        label = self.label.match(text, start)
        letter = self._option(label) if label else None
        if label and letter:
            own_text = self.text.match(text, match_end(_AFTER_LABEL, text, label.end()))
            has_own = own_text and normalise_text(own_text[0]) == self.words.get(letter)
            return letter, own_text.end() if own_text and has_own else label.end()
        option = self.text.match(text, start)
        letters = [k for k, words in self.words.items() if option and words == normalise_text(option[0])]
        return (letters[0], option.end()) if option and len(letters) == 1 else None

    def _option(self, label: re.Match[str]) -> str | None:
        letter = label[0].strip("()").upper()
        return letter if letter in self.texts else None

    def _read_second(self, text: str, end: int, is_text: bool) -> tuple[str, int] | None:
        """Return (letter, end) of an option that is offered beside the one that ends at `end`."""
        start = match_end(JOINT, text, end)
        joint, second = text[end:start], self._read_mention(text, start)
        if second:
            offers = OFFERS.search(joint) is not None
            ends = _CLAUSE_END.match(text, second[1]) is not None
            label = self.label.match(text, start)
            if label:
                in_full = second[1] > label.end() and "\n" not in joint  # with its text, on the same line
                return second if offers or "," in joint or ends or in_full else None
            # after a letter and a comma a text explains the letter, and the "no" of "yes, and no doubt" is none
            is_offered = offers and ";" not in joint and self.words[second[0]] not in _IDIOMS
            return second if is_offered or ((offers or is_text) and ends) else None
        for pattern in (_SHORT_TEXT, _TEXT_THEN_OR):
            label = self.label.match(text, match_end(pattern, text, end))
            letter = self._option(label) if label and label.start() > end else None
            if label and letter:
                return letter, label.end()
        return None

    def _find_texts(self, text: str) -> list[str]:
        """Return the options whose text a text is, or else contains; where one contains another, the longer counts. A
        word of many uses counts less than one that is a clause of its own."""
        words = f" {normalise_text(text)} "  # spaces around, so that whole words match alone
        exact = [letter for letter, own in self.words.items() if words.strip() == own]
        matches = exact or [letter for letter, own in self.words.items() if f" {own} " in words]
        if not exact:  # an option "A" is no article
            capitals = set(re.findall(r"(?<![\w'’])[A-Z](?![\w'’])", text))
            matches = [
                k for k in matches if not re.fullmatch("[a-z]", self.words[k]) or self.words[k].upper() in capitals
            ]
        longest = [
            a for a in matches if not any(a != b and f" {self.words[a]} " in f" {self.words[b]} " for b in matches)
        ]
        if len(longest) > 1:
            clauses = {normalise_text(clause) for clause in re.split(r"[.,;:!?()\n–—]", text)}
            longest = [a for a in longest if self.words[a] not in _IDIOMS or self.words[a] in clauses]
        return longest


@lru_cache(maxsize=256)
def _label_pattern(labels: tuple[str, ...]) -> re.Pattern[str]:
    if all(len(label) == 1 and label.isalpha() for label in labels):
        return re.compile(_LETTER)
    others = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    # a clause ends behind it: "the answer is 2", not "2 reasons"
    return re.compile(rf"(?<![\w.,'’])\(?(?i:{others})(?![\w'’%]|[.,]\d)\)?(?=\s*(?:$|[).:;,!?\n(/&]|(?:or|and|is)\b))")


@lru_cache(maxsize=256)
def _text_pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted((text.strip(" .") for text in texts if text.strip(" .")), key=len, reverse=True)
    words = "|".join(
        rf"(?!{_ARTICLE})(?-i:{text})" if re.fullmatch("[A-Za-z]", text) else r"\s+".join(map(re.escape, text.split()))
        for text in longest_first  # "New York" before "York"
    )
    return re.compile(rf"(?i:{words})(?!\w)" if words else r"(?!)")  # `(?!)` matches nothing


@lru_cache(maxsize=256)
def _atom(label: str, text: str) -> str:
    """Return the atom of `rewards.answers`: an option's letter, its text, or both."""
    return rf"{BOX_ATOM}|{TAG_ATOM}|{label}(?:[.:]?\s+(?:{text}))?|(?<!\w){text}"
