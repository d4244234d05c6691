"""A calculator: arithmetic, roots, logarithms, trigonometry, exact where that has few digits. Nothing of the text is executed,
and numbers stay below a bound, so that no expression takes long."""

from __future__ import annotations

import ast
import decimal
import math
import re
from fractions import Fraction
from typing import Any

import mpmath

TAG = "calc"
MOST_CHARACTERS = 500
"""Characters of an expression."""
MOST_BITS = 2048
"""Bits of a number's numerator and denominator."""
DIGITS = 12
"""Digits of a result that is not exact."""
Number = Any
"""A Fraction where the number is known to be rational, else one of mpmath's reals, which have no types."""
_REALS: Any = mpmath.MPContext()
_REALS.dps = 1000  # enough that of a number of 308 digits as many decimals are right
_LEAST, _MOST = _REALS.mpf("1e-600"), _REALS.mpf("1e308")  # bounds of a real that is not 0
_ROUNDING = _REALS.mpf("1e-900")  # share of an operand below which a result is rounding
_SIGNS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "{": "(", "}": ")", "[": "(", "]": ")"}
)
_SEVERAL_ARGUMENTS = ("min", "max", "gcd", "lcm")
_COMMA_OR_BRACKET = re.compile(r"(\w*)\s*\(|\)|(?<=\d),(?=\d{3}(?!\d))")
_ONE_ARGUMENT = (
    "sqrt",
    "exp",
    "log",
    "ln",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "abs",
    "floor",
    "ceil",
    "factorial",
)


def calculator(expression: str) -> str:
    """Return the value of an arithmetic expression, such as `(3 + 4) * 12` or `sqrt(2) / 3`."""
    if len(expression) > MOST_CHARACTERS:
        raise ValueError(f"an expression of {len(expression):,} characters; at most {MOST_CHARACTERS}")
    text = _join_thousands(expression.translate(_SIGNS)).strip().removesuffix("=").strip()
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read '{expression[:80]}'") from error
    try:
        return _write(_evaluate(tree.body))
    except OverflowError as error:  # an exponent beyond the range of floats
        raise ValueError(f"cannot calculate '{expression[:80]}': too many digits") from error


def _join_thousands(text: str) -> str:
    """Return an expression with its numbers in one piece, `1,234` as `1234`; among the arguments of a function that takes several
    each comma separates. Raises ValueError where that cannot be: `max(1,000, 5)`."""
    separates = [False]  # outside, then of each open bracket: whether commas in it separate

    def rewrite(match: re.Match[str]) -> str:
        if match[0] == ")":
            separates[1:] = separates[1:-1]
        elif match[0] != ",":
            separates.append(match[1] in _SEVERAL_ARGUMENTS if match[1] else separates[-1])
        elif not separates[-1]:
            return ""
        elif match.string[match.end()] == "0":
            raise ValueError("a comma within a number among arguments: write 1,000 as 1000")
        return match[0]

    return _COMMA_OR_BRACKET.sub(rewrite, text)


def _evaluate(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=bool() | complex()):
            pass
        case ast.Constant(value=int() as number):
            return _bounded(Fraction(number))
        case ast.Constant(value=float() as number):
            return _bounded(_read_decimal(number))
        case ast.Name(id="pi" | "e" as name):
            return _lift(_REALS.pi if name == "pi" else _REALS.e)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _evaluate(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _bounded(_operate(operator, _evaluate(left), _evaluate(right)))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _ONE_ARGUMENT:
            return _bounded(_call(name, _evaluate(argument)))
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as arguments, keywords=[]) if name in _SEVERAL_ARGUMENTS:
            return _bounded(_call_with_several(name, [_evaluate(argument) for argument in arguments]))
        case _:
            pass
    raise ValueError(f"cannot calculate '{ast.unparse(node)[:80]}'")


def _read_decimal(number: float) -> Fraction:
    """Return a decimal number exactly: 0.1 is a tenth."""
    if not math.isfinite(number) or abs(number) > 1e300 or 0 < abs(number) < 1e-300:
        raise ValueError("a number out of range")
    return Fraction(repr(number))


def _operate(operator: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(operator, ast.Div | ast.FloorDiv | ast.Mod) and right == 0:
        raise ValueError("division by zero")
    if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        left, right = _lift(left), _lift(right)
    match operator:
        case ast.Add():
            return _without_rounding(left + right, left)
        case ast.Sub():
            return _without_rounding(left - right, left)
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return _whole(_bounded(left / right))
        case ast.Mod():
            return _operate(ast.Sub(), left, right * _whole(_bounded(left / right)))
        case ast.Pow():
            return _power(left, right)
        case _:
            raise ValueError("an operator that a calculator has not")


def _without_rounding(number: Number, operand: Number) -> Number:
    """Return the result of an operation on `operand`, 0 where it is so much smaller that it can be nothing but rounding."""
    is_rounding = not isinstance(number, Fraction) and abs(number) < _ROUNDING * abs(_lift(operand))
    return Fraction(0) if is_rounding else number


def _whole(number: Number) -> Fraction:
    """Return the largest whole number that is not above the number."""
    return Fraction(math.floor(number) if isinstance(number, Fraction) else int(_REALS.floor(number)))


def _power(base: Number, exponent: Number) -> Number:
    """Return a power. Raises ValueError before one that would have too many digits is computed."""
    # The bits of the result, |exponent| · |log2 base|. With a base near 1 they stay few: hence the second bound.
    size = abs(float(exponent)) * max(abs(_log2(base)) if base != 0 else 0, 1e-9)
    if size > MOST_BITS or abs(float(exponent)) > 10 * MOST_BITS:
        raise ValueError("a power with too many digits")
    if base == 0 and exponent < 0:
        raise ValueError("division by zero")
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        return base ** int(exponent)
    return _REALS.power(_lift(base), _lift(exponent))


def _log2(number: Number) -> float:
    """Return the logarithm of a number's size, also of one that is no float."""
    if isinstance(number, Fraction):
        return math.log2(abs(number.numerator)) - math.log2(number.denominator)
    return float(_REALS.log(abs(number), 2))


def _call_with_several(name: str, values: list[Number]) -> Number:
    if name in ("gcd", "lcm"):
        if not all(_is_whole(value) for value in values):
            raise ValueError(f"{name} of whole numbers only")
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*map(int, values)))
    return min(values, key=_lift) if name == "min" else max(values, key=_lift)


def _call(name: str, value: Number) -> Number:
    match name:
        case "factorial":
            if not _is_whole(value) or not 0 <= value <= 200:
                raise ValueError("factorials of whole numbers from 0 to 200 only")
            return Fraction(math.factorial(int(value)))
        case "abs":
            return abs(value)
        case "floor":
            return _whole(value)
        case "ceil":
            return -_whole(-value)
        case "log" | "ln":
            if value <= 0:
                raise ValueError("a logarithm of a number that is not positive")
            return _REALS.log(_lift(value))
        case "exp" if float(value) > MOST_BITS / 2:
            raise ValueError("a power with too many digits")
        case "sin" | "cos" | "tan":
            return _without_rounding(getattr(_REALS, name)(_lift(value)), value)
        case _:
            return getattr(_REALS, name)(_lift(value))


def _is_whole(number: Number) -> bool:
    return isinstance(number, Fraction) and number.denominator == 1


def _lift(number: Number) -> Any:
    """Return a number with `_REALS`' digits."""
    return _REALS.mpf(number.numerator) / number.denominator if isinstance(number, Fraction) else _REALS.mpf(number)


def _bounded(number: Number) -> Number:
    """Return a number, as a fraction where it is one with few decimals. Raises ValueError for one out of bounds."""
    if isinstance(number, Fraction):
        if max(number.numerator.bit_length(), number.denominator.bit_length()) > MOST_BITS:
            raise ValueError("a number with too many digits")
        return number
    if number == 0:
        return Fraction(0)
    if not hasattr(number, "_mpf_") or not _LEAST < abs(number) < _MOST:  # a complex number has no such attribute
        raise ValueError("no real number, or one out of range")
    # sqrt(16) and (sqrt(2) + 1) * (sqrt(2) - 1) are whole numbers, which rounding must not push below themselves.
    scaled = number * 10**DIGITS
    nearest = int(_REALS.nint(scaled))
    return Fraction(nearest, 10**DIGITS) if nearest and abs(scaled - nearest) < _LEAST else number


def _write(number: Number) -> str:
    if isinstance(number, Fraction) and number.denominator == 1:
        return str(number)
    if isinstance(number, Fraction) and _has_few_decimals(number.denominator):
        return _write_exactly(number.numerator, number.denominator)
    # Not as a float, which is 0 or infinite where the exponent has four digits.
    context = decimal.Context(prec=DIGITS, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
    if isinstance(number, Fraction):
        value = context.divide(decimal.Decimal(number.numerator), decimal.Decimal(number.denominator))
    else:
        value = context.create_decimal(_REALS.nstr(number, DIGITS + 5))
    value = value.normalize(context)
    return f"{value:f}" if -5 < value.adjusted() < DIGITS else f"{value:e}"


def _write_exactly(numerator: int, denominator: int) -> str:
    """Return a fraction that has at most `DIGITS` decimals."""
    digits = str(abs(numerator) * 10**DIGITS // denominator).zfill(DIGITS + 1)
    sign = "-" if numerator < 0 else ""
    return f"{sign}{digits[:-DIGITS]}.{digits[-DIGITS:].rstrip('0')}"


def _has_few_decimals(denominator: int) -> bool:
    return 10**DIGITS % denominator == 0
