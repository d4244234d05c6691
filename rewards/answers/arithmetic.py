"""Evaluates numbers and arithmetic in plain LaTeX (`rewards.answers.notation`)."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import cast

from rewards.answers import values
from rewards.answers.values import DIVISION, FACTORIAL, Factor, UnreadableError, Value


def evaluate(text: str) -> Value | None:
    """Return the value of a text that is one number or one arithmetic expression, else None."""
    value, end = evaluate_prefix(text)
    return value if value is not None and not text[end:].strip() else None


def evaluate_prefix(text: str) -> tuple[Value | None, int]:
    """Return the value of the longest number or arithmetic expression that a text begins with, and where it ends; (None, 0)
    where it begins with none."""
    try:
        parser = _Parser(text)
        value = parser.sum()
        return value, parser.position
    except (UnreadableError, ZeroDivisionError, OverflowError, RecursionError):
        return None, 0


_NUMBER = re.compile(
    r"(?:(?P<whole>\d{1,3}(?:,\d{3})+(?![\d])|\d+)(?P<part>\.\d*(?!\.))?|(?P<bare_part>\.\d+))"
    r"(?:\\overline\{(?P<repeat>\d+)\})?(?:[eE](?P<power>[-+]?\d{1,4})(?![\d.]))?"
)
_FRACTION_BEHIND = re.compile(r"\s?\\frac\{(\d+)\}\{(\d+)\}(?![\d^!])|\s(\d+)\s?/\s?(\d+)(?![\d^!.])")
_SPACE = re.compile(r"\s*")
_NEXT_FACTOR = re.compile(r"\s*(?=\\(?:frac|sqrt|pi)(?![a-z])|\(|e(?![a-zA-Z]))")
_TIMES = re.compile(r"\s*(?:\\times|\\cdot)(?![a-z])\s*|\s+x\s+(?=\d)|(?<=\d)x(?=\s?10\s?\^)")
_OVER = re.compile(r"\s*/\s*")
_SIGN = re.compile(r"\s*([-+])\s*")
_POWER = re.compile(r"\s*\^\s*\{")
_COMMAND = re.compile(r"\\(frac|sqrt|pi|binom|ln|log|sin|cos|tan|arcsin|arccos|arctan)(?![a-z])\s*")


class _Parser:
    """A recursive descent over sums, products, powers and atoms."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.depth = 0

    def sum(self) -> Value:
        self.depth += 1
        # Each level takes several calls of Python's, and an answer may consist of nothing but brackets.
        if self.depth > 60:
            raise UnreadableError
        terms = [self._signed_product()]
        while sign := _SIGN.match(self.text, self.position):
            start, self.position = self.position, sign.end()
            try:
                term = self._product()
            # A sign without a term behind it belongs to what follows the expression.
            except UnreadableError:
                self.position = start
                break
            terms.append(values.negate(term) if sign[1] == "-" else term)
        self.depth -= 1
        return values.add_up(terms)

    def _signed_product(self) -> Value:
        sign = _SIGN.match(self.text, self.position)
        lead = sign or _SPACE.match(self.text, self.position)
        self.position = lead.end() if lead else self.position
        value = self._product()
        return values.negate(value) if sign and sign[1] == "-" else value

    def _product(self) -> Value:
        factors = [self._power()]
        divisors: list[Factor] = []
        while True:
            start = self.position
            times, over = _TIMES.match(self.text, start), _OVER.match(self.text, start)
            operator = times or over
            if operator:
                self.position = operator.end()
            elif not self._skip_to_factor():
                break
            try:
                # Only behind an operator may a factor have a sign, as in 2 · -3: `2 -3` is a difference.
                factor = self._power(signed=operator is not None)
            except UnreadableError:
                self.position = start
                break
            (divisors if over else factors).append(factor)
        value = values.multiply(factors, divisors)
        comes_out = isinstance(value.real, Fraction) and value.real.denominator == 1
        has_decimals = value.is_rational and value.is_decimal
        # 3/4 is a number, 150/2 and 1.5/2 are divisions to be done
        is_undone = divisors and (comes_out or has_decimals)
        return replace(value, undone=value.undone | {DIVISION}) if is_undone else value

    def _skip_to_factor(self) -> bool:
        """Return whether a factor may follow without a sign: 2\\pi, 4\\sqrt{2}, 2(3), 3e^{2}, but no digit after a number."""
        factor = _NEXT_FACTOR.match(self.text, self.position)
        if factor:
            self.position = factor.end()
        return factor is not None

    def _power(self, signed: bool = False) -> Factor:
        sign = _SIGN.match(self.text, self.position) if signed else None
        if sign:
            self.position = sign.end()
        value = self._atom()
        is_ten = value.is_digits and value.real == 10
        is_power_of_ten = False
        while True:
            if self.text.startswith("!", self.position) and not self.text.startswith("!=", self.position):
                self.position += 1
                value = values.factorial_of(value)
            elif self.text.startswith("^{\\circ}", self.position):
                break  # degrees: a unit
            elif power := _POWER.match(self.text, self.position):
                self.position = power.end()
                exponent = self.sum()
                self._expect("}")
                value, is_power_of_ten = values.raise_to(value, exponent), is_ten and exponent.is_digits
                # Work that is done: 10^{3} is as final a form as 1000.
                if is_power_of_ten:
                    value = replace(value, undone=frozenset())
            else:
                break
        return Factor(values.negate(value) if sign and sign[1] == "-" else value, is_power_of_ten)

    def _atom(self) -> Value:
        number = _NUMBER.match(self.text, self.position)
        if number:
            self.position = number.end()
            return self._with_fraction(_value_of_digits(number))
        command = _COMMAND.match(self.text, self.position)
        if command:
            self.position = command.end()
            return self._command(command[1])
        char = self.text[self.position : self.position + 1]
        if char in ("(", "{"):
            self.position = cast(re.Match[str], _SPACE.match(self.text, self.position + 1)).end()
            value = self.sum()
            self._expect(")" if char == "(" else "}")
            return replace(value, is_digits=False) if value.undone else value
        if char == "e" and not self.text[self.position + 1 : self.position + 2].isalpha():
            self.position += 1
            return Value(values.E)
        raise UnreadableError

    def _with_fraction(self, whole: Value) -> Value:
        """Return the mixed number that a whole number begins, `1\\frac{1}{2}` or `1 1/2`, or the number itself."""
        fraction = _FRACTION_BEHIND.match(self.text, self.position)
        if not fraction or whole.is_decimal or not isinstance(whole.real, Fraction) or whole.real.denominator != 1:
            return whole
        top, bottom = int(fraction[1] or fraction[3]), int(fraction[2] or fraction[4])
        # Only a proper fraction makes a mixed number: `2 3/2` is none.
        if not 0 < top < bottom:
            return whole
        self.position = fraction.end()
        return Value(whole.real + Fraction(top, bottom))

    def _command(self, name: str) -> Value:
        if name == "pi":
            return Value(values.PI)
        if name == "frac":
            return values.multiply([Factor(self._group())], [Factor(self._group())])
        if name == "sqrt":
            return values.root_of(*self._root_arguments())
        if name == "binom":
            top, bottom = self._group(), self._group()
            return Value(values.binomial(top, bottom), top.undone | bottom.undone | {FACTORIAL})
        return self._function(name)

    def _root_arguments(self) -> tuple[Value, int]:
        degree = 2
        index = re.compile(r"\[\s*(\d{1,3})\s*\]\s*").match(self.text, self.position)
        if index:
            degree, self.position = int(index[1]), index.end()
        return self._group(), degree

    def _function(self, name: str) -> Value:
        base: Value | None = None
        if name == "log":
            if self.text.startswith("_{", self.position):
                self.position += 2
                base = self.sum()
                self._expect("}")
            else:
                raise UnreadableError  # to which base is not said
        self.position = cast(re.Match[str], _SPACE.match(self.text, self.position)).end()
        argument = self._power().value
        degrees = self.text.startswith("^{\\circ}", self.position)
        self.position += len("^{\\circ}") if degrees else 0
        return values.apply(name, argument, base, degrees)

    def _group(self) -> Value:
        self.position = cast(re.Match[str], _SPACE.match(self.text, self.position)).end()
        self._expect("{")
        value = self.sum()
        self._expect("}")
        return value

    def _expect(self, char: str) -> None:
        self.position = cast(re.Match[str], _SPACE.match(self.text, self.position)).end()
        if not self.text.startswith(char, self.position):
            raise UnreadableError
        self.position += 1


def _value_of_digits(match: re.Match[str]) -> Value:
    whole, part = (match["whole"] or "0").replace(",", ""), (match["part"] or match["bare_part"] or "")[1:]
    power, repeat = int(match["power"] or 0), match["repeat"]
    if len(whole) + len(part) + len(repeat or "") > 4000:  # Python reads no integer of over 4300 digits
        raise UnreadableError
    real = Fraction(int(whole + part), 10 ** len(part))
    if repeat:
        # 0.1\overline{6} is 0.1 + 6/9 · 1/10: the block over as many nines, behind the digits that do not repeat.
        real += Fraction(int(repeat), (10 ** len(repeat) - 1) * 10 ** len(part))
    real = real * 10**power if power >= 0 else real / 10**-power
    return Value(real, is_decimal=(bool(part) or power < 0) and not repeat, is_digits=not repeat)
