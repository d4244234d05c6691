"""A calculator: arithmetic, roots, logarithms, trigonometry, exact where that has few digits. Nothing of the text is executed,
and numbers stay below a bound, so that no expression takes long."""

from __future__ import annotations

import ast
import decimal
import math
import re
from collections.abc import Callable
from typing import Any, cast

TAG = "calc"
MOST_CHARACTERS = 500
"""Characters of an expression."""
MOST_BITS = 2048
"""Bits of a number's numerator and denominator."""
DIGITS = 12
"""Digits of a result that is not exact."""
_SIGNS = str.maketrans(
    {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "{": "(", "}": ")", "[": "(", "]": ")"}
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
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
    text = _THOUSANDS.sub("", expression.translate(_SIGNS)).strip().removesuffix("=").strip()
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"cannot read '{expression[:80]}'") from error
    try:
        return _write(_evaluate(tree.body))
    except ArithmeticError as error:  # sympy's, of a whole part whose digits it cannot tell
        raise ValueError(f"cannot calculate '{expression[:80]}': too many digits") from error


def _evaluate(node: ast.expr) -> Any:  # sympy's numbers have no common public type
    import sympy

    match node:
        case ast.Constant(value=bool() | complex()):
            pass
        case ast.Constant(value=int() as number):
            return _bounded(sympy.Integer(number))
        case ast.Constant(value=float() as number):
            return _bounded(_read_decimal(number))
        case ast.Name(id="pi" | "e" as name):
            return cast("Any", sympy.pi if name == "pi" else sympy.E)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _evaluate(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _bounded(_operate(operator, _evaluate(left), _evaluate(right)))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _ONE_ARGUMENT:
            return _bounded(_call(name, _evaluate(argument)))
        case ast.Call(func=ast.Name(id="min" | "max" | "gcd" | "lcm" as name), args=[_, *_] as arguments, keywords=[]):
            return _bounded(_call_with_several(name, [_evaluate(argument) for argument in arguments]))
        case _:
            pass
    raise ValueError(f"cannot calculate '{ast.unparse(node)[:80]}'")


def _read_decimal(number: float) -> Any:
    """Return a decimal number exactly: 0.1 is a tenth."""
    import sympy

    if not math.isfinite(number) or abs(number) > 1e300 or 0 < abs(number) < 1e-300:
        raise ValueError("a number out of range")
    return sympy.Rational(repr(number))


def _operate(operator: ast.operator, left: Any, right: Any) -> Any:
    if isinstance(operator, ast.Div | ast.FloorDiv | ast.Mod) and right.is_zero:
        raise ValueError("division by zero")
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return _whole(left / right)
        case ast.Mod():
            return left - right * _whole(left / right)
        case ast.Pow():
            return _power(left, right)
        case _:
            raise ValueError("an operator that a calculator has not")


def _whole(number: Any) -> Any:
    import sympy

    return sympy.floor(number)


def _power(base: Any, exponent: Any) -> Any:
    """Return a power. Raises ValueError before one that would have too many digits is computed."""
    size = abs(float(exponent)) * max(abs(_log2(base)) if base != 0 else 0, 1e-9)
    if size > MOST_BITS or abs(float(exponent)) > 10 * MOST_BITS:
        raise ValueError("a power with too many digits")
    if base == 0 and float(exponent) < 0:
        raise ValueError("division by zero")
    return base**exponent


def _log2(number: Any) -> float:
    """Return the logarithm of a number's size, also of one that is no float."""
    if number.is_Rational:
        return math.log2(abs(int(number.p))) - math.log2(int(number.q))
    if not (size := abs(float(number))):
        raise ValueError("a number out of range")
    return math.log2(size)


def _call_with_several(name: str, values: list[Any]) -> Any:
    import sympy

    if name in ("gcd", "lcm"):
        if not all(value.is_Integer for value in values):
            raise ValueError(f"{name} of whole numbers only")
        return sympy.Integer((sympy.igcd if name == "gcd" else sympy.ilcm)(*values))
    return cast("Any", sympy.Min if name == "min" else sympy.Max)(*values)


def _call(name: str, value: Any) -> Any:
    import sympy

    if name == "factorial":
        if not value.is_Integer or not 0 <= value <= 200:
            raise ValueError("factorials of whole numbers from 0 to 200 only")
        return sympy.factorial(value)
    if name in ("log", "ln") and (value.is_real is False or not _is_positive(value)):
        raise ValueError("a logarithm of a number that is not positive")
    functions: dict[str, Callable[..., Any]] = {"ln": sympy.log, "abs": sympy.Abs, "ceil": sympy.ceiling}
    if name == "exp" and float(value) > MOST_BITS / 2:
        raise ValueError("a power with too many digits")
    return functions.get(name, getattr(sympy, name, None))(value)  # type: ignore[misc]  # one of the two is there


def _is_positive(number: Any) -> bool:
    return bool(number > 0) if number.is_Rational else float(number) > 0


def _bounded(number: Any) -> Any:
    """Return a number in few digits; one of several roots and constants as a decimal. Raises ValueError for one out of bounds."""

    if number.is_Rational:
        if max(int(number.p).bit_length(), int(number.q).bit_length()) > MOST_BITS:
            raise ValueError("a number with too many digits")
        return number
    if number.is_finite is False or number.is_real is False:
        raise ValueError("no real number")
    value = _to_digits(number, 30)
    if not value.is_Float or not math.isfinite(float(value)):
        raise ValueError("no real number, or one out of range")
    return number if number.count_ops() < 8 else value


def _to_digits(number: Any, digits: int) -> Any:
    import sympy

    return cast("Any", sympy).N(number, digits)


def _write(number: Any) -> str:
    if number.is_Integer:
        return str(number)
    if number.is_Rational and _has_few_decimals(int(number.q)):
        return _write_exactly(int(number.p), int(number.q))
    # Not as a float, which is 0 or infinite where the exponent has four digits.
    context = decimal.Context(prec=DIGITS, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)
    if number.is_Rational:
        value = context.divide(decimal.Decimal(int(number.p)), decimal.Decimal(int(number.q)))
    else:
        value = context.create_decimal(str(_to_digits(number, DIGITS + 5)))
    value = value.normalize(context) or decimal.Decimal(0)  # no -0
    return f"{value:f}" if -5 < value.adjusted() < DIGITS else f"{value:e}"


def _write_exactly(numerator: int, denominator: int) -> str:
    """Return a fraction that has at most `DIGITS` decimals."""
    digits = str(abs(numerator) * 10**DIGITS // denominator).zfill(DIGITS + 1)
    sign = "-" if numerator < 0 else ""
    return f"{sign}{digits[:-DIGITS]}.{digits[-DIGITS:].rstrip('0')}"


def _has_few_decimals(denominator: int) -> bool:
    return 10**DIGITS % denominator == 0
