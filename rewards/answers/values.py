"""Computes values of numbers and of arithmetic, exact where they are rational, and tells what work their notation
leaves undone: `49+26` is a sum still to be done, `3/4` and `2\\pi` are final."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol, cast

import mpmath


class Real(Protocol):
    """The operations of mpmath's untyped numbers that are used here."""

    def __add__(self, number: object) -> Real: ...
    def __sub__(self, number: object) -> Real: ...
    def __mul__(self, number: object) -> Real: ...
    def __truediv__(self, number: object) -> Real: ...
    def __neg__(self) -> Real: ...
    def __abs__(self) -> Real: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __lt__(self, number: object) -> bool: ...
    def __le__(self, number: object) -> bool: ...
    def __gt__(self, number: object) -> bool: ...
    def __pow__(self, number: object) -> Real: ...


class _Context(Protocol):
    """The functions of mpmath's untyped context that are used here."""

    dps: int
    pi: Real
    e: Real

    def mpf(self, number: object) -> Real: ...
    def power(self, base: Real, exponent: Real) -> object: ...
    def root(self, number: object, degree: int) -> Real: ...
    def gamma(self, number: int) -> Real: ...
    def log(self, number: Real) -> Real: ...
    def log10(self, number: Real) -> Real: ...
    def floor(self, number: Real) -> Real: ...
    def nint(self, number: Real) -> Real: ...
    def isfinite(self, number: Real) -> bool: ...


REALS = cast(_Context, mpmath.MPContext())
REALS.dps = 60  # decimal places: far more than any two different answers share by chance
PI, E = REALS.pi * 1, REALS.e * 1
_CLOSE = REALS.mpf(10) ** -45  # relative difference below which two irrational values are one
_LONGEST_POWER = 200_000  # bits up to which a power stays exact
_LARGEST_FACTORIAL = 3000  # up to which a factorial stays exact

SUM, PRODUCT, DIVISION, POWER, FACTORIAL, FUNCTION = "sum", "product", "division", "power", "factorial", "function"
PADDING = "padding"
"""Kinds of work that a notation leaves undone. A DIVISION is one by a slash whose result is whole. PADDING is a factor
or divisor 1, which changes nothing."""


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a number or of arithmetic, and how it is written."""

    real: Fraction | Real
    """Exact as a fraction where it is rational, else to 60 digits."""
    undone: frozenset[str] = frozenset()
    """Work that the notation leaves undone: SUM, POWER, …"""
    is_decimal: bool = False
    """True where a decimal fraction is written, which may be a rounded value."""
    is_digits: bool = False
    """True for digits alone, with a sign, a point, thousands separators or a power of ten."""

    @property
    def is_rational(self) -> bool:
        """True where the value is exact."""
        return isinstance(self.real, Fraction)

    def __float__(self) -> float:
        try:
            return float(self.real)
        except OverflowError:
            return math.inf if self.real > 0 else -math.inf


class UnreadableError(Exception):
    """Error for a text that holds no arithmetic where it is read."""


def same_value(a: Value, b: Value) -> bool:
    """Return whether two values are equal: exactly, or to six decimals, or six digits of values below 0.1, where one
    alone is written as a decimal fraction and the other is a fraction, a root, a multiple of π, …"""
    if a.is_rational and b.is_rational and a.real == b.real:
        return True
    x, y = _real(a), _real(b)
    difference, size = abs(x - y), max(abs(x), abs(y))
    if not (a.is_rational and b.is_rational) and difference <= size * _CLOSE:
        return True
    rounded = a.is_decimal != b.is_decimal and not (a.is_digits and b.is_digits)
    if not rounded or size <= 0:
        return False
    digits = min(0, int(REALS.floor(REALS.log10(size))) + 1)  # -1 for 0.0333, 0 from 0.1 on
    return difference <= REALS.mpf(10) ** digits * 5e-7


def _real(value: Value) -> Real:
    return _lift(value.real)


def _check_real(real: object) -> Real:
    """Return a result that is real and finite; raise UnreadableError for a complex or an infinite one."""
    if not hasattr(real, "_mpf_") or not REALS.isfinite(cast(Real, real)):
        raise UnreadableError
    return cast(Real, real)


@dataclass(slots=True)
class Factor:
    """A factor of a product: its value, and whether it is a power of ten, as in 3·10^8."""

    value: Value
    is_power_of_ten: bool = False


def negate(value: Value) -> Value:
    return replace(value, real=-value.real)


def _undone(values: Iterable[Value]) -> frozenset[str]:
    return frozenset[str]().union(*(value.undone for value in values))


def _combine(values: list[Value], real: Fraction | Real, *work: str) -> Value:
    return Value(real, _undone(values) | frozenset(work), any(value.is_decimal for value in values))


def add_up(terms: list[Value]) -> Value:
    if len(terms) == 1:
        return terms[0]
    real: Fraction | Real = Fraction(0)
    for term in terms:
        real = _add(real, term.real)
    # 1 + \sqrt{2} is a number's final form; two rational terms could be added
    rational_count = sum(term.is_rational for term in terms)
    return _combine(terms, real, *((SUM,) if rational_count > 1 else ()))


def _add(a: Fraction | Real, b: Fraction | Real) -> Fraction | Real:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a + b
    return _lift(a) + _lift(b)


def _lift(a: Fraction | Real) -> Real:
    return REALS.mpf(a.numerator) / a.denominator if isinstance(a, Fraction) else a


def multiply(factors: list[Factor], divisors: list[Factor]) -> Value:
    values = [factor.value for factor in (*factors, *divisors)]
    if len(values) == 1:
        return values[0]
    real: Fraction | Real = Fraction(1)
    for factor in factors:
        a = factor.value.real
        real = real * a if isinstance(real, Fraction) and isinstance(a, Fraction) else _lift(real) * _lift(a)
    for divisor in divisors:
        a = divisor.value.real
        if a == 0:
            raise ZeroDivisionError
        real = real / a if isinstance(real, Fraction) and isinstance(a, Fraction) else _lift(real) / _lift(a)
    plain_factors = [f for f in factors if not f.is_power_of_ten and f.value.is_rational]
    work = [PRODUCT] if len(plain_factors) > 1 else []
    if len(values) > 1 and isinstance(real, Fraction):
        powers_of_ten = len(factors) - len(plain_factors)
        one_of_several = len(plain_factors) > 1 and any(f.value.real == 1 for f in plain_factors)
        divided_by_one = any(d.value.real == 1 for d in divisors) or (bool(divisors) and real == 0)  # 0/7 is 0
        if one_of_several or (divided_by_one and not powers_of_ten):
            work.append(PADDING)
    value = _combine(values, real, *work)
    has_power_of_ten = any(f.is_power_of_ten for f in factors)
    if (
        has_power_of_ten
        and not divisors
        and len(factors) == 2
        and all(f.value.is_digits or f.is_power_of_ten for f in factors)
    ):
        # 1.2 × 10^3 is digits; 10^{-3} makes a decimal fraction of it, that is no rounded value of anything else
        return replace(value, undone=frozenset(), is_digits=True)
    return value


def raise_to(base: Value, exponent: Value) -> Value:
    undone = base.undone | exponent.undone
    if isinstance(base.real, Fraction) and isinstance(exponent.real, Fraction) and exponent.real.denominator == 1:
        power = int(exponent.real)
        bits = max(base.real.numerator.bit_length(), base.real.denominator.bit_length())
        if abs(power) * bits <= _LONGEST_POWER:
            return Value(base.real**power, undone | {POWER}, base.is_decimal)
    if abs(_real(exponent)) > 2**64:
        raise UnreadableError
    if isinstance(exponent.real, Fraction) and exponent.real.denominator > 1 and base.is_rational:
        numerator = exponent.real.numerator
        power = base if numerator == 1 else raise_to(base, Value(Fraction(numerator)))
        root = root_of(power, exponent.real.denominator)
        # 2^{2/3} is final, as \sqrt[3]{4} is; 8^{2/3} is 4, still to be worked out
        return replace(root, is_digits=False, undone=root.undone if root.is_rational else undone)
    real = _check_real(REALS.power(_real(base), _real(exponent)))
    return Value(real, undone | ({POWER} if base.is_rational else frozenset[str]()), base.is_decimal)


def root_of(value: Value, degree: int) -> Value:
    real = value.real
    if isinstance(real, Fraction) and degree > 0 and (real >= 0 or degree % 2):
        size = abs(real)
        top, bottom = _exact_root(size.numerator, degree), _exact_root(size.denominator, degree)
        if top is not None and bottom is not None:
            return replace(value, real=Fraction(top, bottom) * (1 if real >= 0 else -1), is_digits=False)
    if (float(value) < 0 and not degree % 2) or degree < 1:
        raise UnreadableError  # imaginary
    root = REALS.root(abs(_real(value)), degree)
    return Value(root if float(value) >= 0 else -root, value.undone, value.is_decimal)


def _exact_root(number: int, degree: int) -> int | None:
    if number.bit_length() > 20_000:
        return None
    if degree == 2:
        root = math.isqrt(number)
    else:
        # 180 bits are 54 digits, of which the 60 of REALS lose none.
        root = int(REALS.nint(REALS.root(number, degree))) if number.bit_length() < 180 else 0
    return root if root**degree == number else None


def factorial_of(value: Value) -> Value:
    n = value.real
    if not isinstance(n, Fraction) or n.denominator != 1 or not 0 <= n < 10**12:
        raise UnreadableError
    real = Fraction(math.factorial(int(n))) if n <= _LARGEST_FACTORIAL else REALS.gamma(int(n) + 1)
    return Value(real, value.undone | {FACTORIAL})


def binomial(top: Value, bottom: Value) -> Fraction:
    n, k = top.real, bottom.real
    if not isinstance(n, Fraction) or not isinstance(k, Fraction) or not n.denominator == k.denominator == 1:
        raise UnreadableError
    if not 0 <= k <= n <= 5000:
        raise UnreadableError
    return Fraction(math.comb(int(n), int(k)))


_FUNCTIONS = {"ln": "log", "arcsin": "asin", "arccos": "acos", "arctan": "atan"}  # LaTeX's name -> mpmath's


def apply(name: str, argument: Value, base: Value | None, degrees: bool) -> Value:
    x = _real(argument)
    if degrees:
        x = x * PI / 180
    if abs(x) > 10**30:
        raise UnreadableError
    function = cast(Callable[[Real], object], getattr(REALS, _FUNCTIONS.get(name, name)))
    try:
        real = _check_real(function(x))
        if base is not None:
            real = real / _check_real(REALS.log(_real(base)))  # that of a negative base is complex
    except ValueError as error:  # the logarithm of 0
        raise UnreadableError from error
    # 840 is the least common multiple of 1 to 8: halves, thirds, … eighths are found.
    nearest = Fraction(round(float(real) * 840), 840)  # a log or sine that comes out even is work left undone
    if abs(real - _lift(nearest)) < _CLOSE:
        return Value(nearest, argument.undone | {FUNCTION})
    return Value(real, argument.undone)
