"""What kind of thing an answer is, however it is written."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rewards.answers.grammar import read
from rewards.answers.kinds import Answer, Based, Duration, Formula, Grid, Moment, Number, Relation, Series, Words
from rewards.answers.notation import plain
from rewards.answers.units import read_unit
from rewards.answers.words import with_digits


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("42", Number),
        ("90°", Number),
        ("5 km/h", Number),
        ("12 apples in total", Number),
        ("\\approx 1.41", Number),
        ("2\\pi", Number),
        ("1010_2", Based),
        ("52 (base 8)", Based),
        ("5 hours and 30 minutes", Duration),
        ("3小时30分", Duration),
        ("2023-01-05", Moment),
        ("the 5th of January, 2023", Moment),
        ("3:30 pm", Moment),
        ("(1,\n2)", Series),
        ("\\{1, 2\\}", Series),
        ("[0, 1)", Series),
        ("(0, 1] \\cup [2, 3)", Series),
        ("1; 2", Series),
        ("19, 46, \\text{ and } 82", Series),
        ("3 \\pm 2", Series),
        ("3:4", Series),
        ("5 to 7", Series),
        ("x=7\ny=2", Series),
        ("\\begin{pmatrix}\n1 & 2 \\\\\n3 & 4\n\\end{pmatrix}", Grid),
        ("\\begin{cases} x & x>0\\\\ 0 & x \\le 0\\end{cases}", Grid),
        ("x = 5", Relation),
        ("x is not equal to 0", Relation),
        ("-2 \\le x \\le 7", Relation),
        ("Tuesday", Words),
        ("\\text{no}", Words),
        ("all real numbers except 1", Words),
        ("at least 7", Words),
        ("5 or more", Words),
        ("3n", Formula),
        ("4 + 3i", Formula),
        ("x^2 + 1", Formula),
        ("\\infty", Formula),
    ],
)
def test_kinds(text: str, kind: type[Answer]):
    assert isinstance(read(text), kind)


def test_parts_of_an_answer():
    interval = read("(0, \\frac12]")
    assert isinstance(interval, Series)
    assert (interval.opening, interval.closing, len(interval.items)) == ("(", "]", 2)
    relation = read("x = 5+5+1 = 1/3 \\approx 11")
    assert isinstance(relation, Relation)
    assert relation.operators == ("=", "=", "\\approx")
    assert read("5 hours and 30 minutes") == Duration("5 hours and 30 minutes", Fraction(19_800))
    assert read("January 5, 2023") == Moment("January 5, 2023", (2023, 1, 5))


@pytest.mark.parametrize(
    ("text", "dimensions", "size"),
    [
        (" km/h", {"length": 1, "time": -1}, Fraction(1000, 3600)),
        (" m^2", {"length": 2}, Fraction(1)),
        (" square meters", {"length": 2}, Fraction(1)),
        (" 平方厘米", {"length": 2}, Fraction(1, 10_000)),
        ("\\text{ cm}^3", {"length": 3}, Fraction(1, 10**6)),
        ("^\\circ", {"angle": 1}, Fraction(1)),
        ("°C", {"celsius": 1}, Fraction(1)),
        (" dollars per hour", {"dollar": 1, "time": -1}, Fraction(1, 3600)),
        ("%", {"percent": 1}, Fraction(1)),
        (" centimetres long", {"length": 1}, Fraction(1, 100)),
    ],
)
def test_units(text: str, dimensions: dict[str, int], size: Fraction):
    unit = read_unit(plain("3" + text)[1:])
    assert unit is not None
    assert (dict(unit.dimensions), unit.size) == (dimensions, size)


@pytest.mark.parametrize("text", ["x", "n", " or more", " to 7", " thousand dollars", " times two", "m"])
def test_what_is_no_unit(text: str):
    """A single letter that touches its number is a variable; a word that changes the number is no noun."""
    assert read_unit(text) is None


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("twenty-one beats", "21 beats"),
        ("one hundred and five", "105"),
        ("nineteen hundred eighty four", "1984"),
        ("two hundred thousand", "200000"),
        ("two point five", "2.5"),
        ("three quarters", "\\frac{3}{4}"),
        ("2 and a half", "2\\frac{1}{2}"),
        ("two and three quarters", "2\\frac{3}{4}"),
        ("minus 5", "-5"),
        ("5 thousand dollars", "5000 dollars"),
        ("1.5 million", "1500000"),
        ("5k", "5000"),
        ("3百万", "3000000"),
        ("3 dozen", "36"),
        ("one two three", "1, 2, 3"),
        ("5 km", "5 km"),
        ("3千克", "3千克"),
    ],
)
def test_number_words(text: str, digits: str):
    assert with_digits(text).strip() == digits
