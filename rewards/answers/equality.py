"""Judges whether two answers are equal: numbers and quantities here, by kinds; other mathematics by math-verify."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rewards.answers.algebra import algebra_equal, equations_equal
from rewards.answers.grammar import read_decimal_comma, read_plain, to_latex
from rewards.answers.kinds import (
    DEFAULT_POLICY,
    Answer,
    Based,
    Duration,
    Formula,
    Grid,
    Moment,
    Number,
    Policy,
    Relation,
    Series,
    Words,
)
from rewards.answers.notation import latex, without_marks
from rewards.answers.quantities import (
    durations_equal,
    moment_and_ratio_equal,
    moments_equal,
    numbers_equal,
    ratio_value_equal,
    ratios_equal,
)
from rewards.answers.regions import region, same_region
from rewards.answers.relations import interval, may_name_one, named_value, upward
from rewards.answers.texts import normalise_text
from rewards.answers.values import same_value

_TUPLE_BRACKETS = frozenset({"(", "[", "]", "<"})


def equal(gold: Answer, pred: Answer, policy: Policy = DEFAULT_POLICY) -> bool:
    """Return whether an answer equals the gold under a policy."""
    if _letters(gold.text) == _letters(pred.text):
        return bool(_letters(gold.text))
    if _are_regions(gold, pred, policy):
        a, b = region(gold), region(pred)
        if a is not None and b is not None:
            return same_region(a, b, lambda x, y: equal(x, y, policy))
    for kinds, compare in _COMPARISONS:
        if isinstance(gold, kinds[0]) and isinstance(pred, kinds[1]):
            return compare(gold, pred, policy)
    if isinstance(gold, Number) and gold.value.is_rational and not gold.value.undone and policy.unevaluated == "refuse":
        return False  # whatever it is, it is no number in a final form
    if _letters(gold.text).lstrip("+-") == "\\infty":
        return _letters(pred.text).lstrip("+") == _letters(gold.text).lstrip("+")  # \\infty/42 is written as no answer
    # Algebra would compute with these: the date 2023-01-05 is no difference.
    hard = (Moment, Duration, Based)
    if isinstance(gold, hard) or isinstance(pred, (hard, Words)):
        return False
    return algebra_equal(to_latex(gold), to_latex(pred))


def _are_regions(gold: Answer, pred: Answer, policy: Policy) -> bool:
    """Return whether two answers may be read as parts of the number line: not two pairs of brackets, which may be points."""
    kinds = Relation | Series | Formula
    if not (isinstance(gold, kinds) and isinstance(pred, kinds)):
        return False
    brackets = [isinstance(answer, Series) and answer.opening not in ("+", "or", "") for answer in (gold, pred)]
    return not all(brackets) and not (policy.inequalities == "distinct" and type(gold) is not type(pred))


def _letters(text: str) -> str:
    """Return a text without its spaces and marks."""
    return "".join(without_marks(text).split())


def _number_and_series(gold: Answer, pred: Answer, policy: Policy) -> bool:
    number, series = (gold, pred) if isinstance(gold, Number) else (pred, gold)
    assert isinstance(number, Number)
    assert isinstance(series, Series)
    if len(series.items) == 1:
        return equal(number, series.items[0], policy)
    if series.opening == "or":  # "1/2, or 0.5" says one thing twice
        return number is gold and all(equal(number, item, policy) for item in series.items)
    if series.opening == ":" and len(series.items) == 2:
        return ratio_value_equal(number, series)
    comma = read_decimal_comma(series.text)  # `2,74` beside 2.74
    return comma is not None and (number.value.is_decimal or number is gold) and same_value(number.value, comma.value)


def _based_equal(gold: Answer, pred: Answer, policy: Policy) -> bool:
    if isinstance(gold, Based) and isinstance(pred, Based):
        return gold.base == pred.base and gold.digits.lstrip("0") == pred.digits.lstrip("0")
    number, other = (gold, pred) if isinstance(gold, Based) else (pred, gold)
    assert isinstance(number, Based)
    if isinstance(other, Relation):
        value = named_value(other)
        return value is not None and (equal(gold, value, policy) if number is gold else equal(value, pred, policy))
    # Without its base a number reads as one of base ten: 52 is not 52_8
    return policy.bases == "optional" and _letters(other.text).lower() == number.digits


# Several answers


def _series(gold: Series, pred: Series, policy: Policy) -> bool:
    if ":" in (gold.opening, pred.opening):
        return gold.opening == pred.opening and ratios_equal(gold, pred)
    if "to" in (gold.opening, pred.opening) and gold.opening != pred.opening:
        return False
    if len(gold.items) == 1 and len(pred.items) == 1:
        return equal(gold.items[0], pred.items[0], policy)
    if not _brackets_agree(gold, pred):
        return False
    if (
        policy.order == "given"
        or gold.opening in _TUPLE_BRACKETS
        or pred.opening in _TUPLE_BRACKETS
        or gold.opening == "to"
    ):
        return len(gold.items) == len(pred.items) and _pairwise(gold.items, pred.items, policy)
    return _sets_equal(_distinct(gold.items), _distinct(pred.items), policy)


def _brackets_agree(gold: Series, pred: Series) -> bool:
    a, b = (gold.opening, gold.closing), (pred.opening, pred.closing)
    if a == b:
        return True
    loose = {"", "or", "{"}  # a bare list is a set, and, in its order, a tuple
    if gold.opening in loose and pred.opening in loose:
        return True
    bare = [series for series in (gold, pred) if series.opening == ""]
    other = [brackets for brackets in (a, b) if brackets[0] != ""]
    if len(bare) == 1 and other[0] in (("(", ")"), ("<", ">"), ("[", "]")):
        return other[0][0] != "[" or len(gold.items) > 2
    if {a, b} == {("(", ")"), ("<", ">")}:
        return True
    # French half-open intervals: ]0, 1[ is (0, 1)
    as_round = [tuple(_FRENCH.get(side, side) for side in zip(brackets, "oc", strict=True)) for brackets in (a, b)]
    return [side[0] for side in as_round[0]] == [side[0] for side in as_round[1]]


_FRENCH = {("]", "o"): ("(", "o"), ("[", "c"): (")", "c")}


def _distinct(items: Sequence[Answer]) -> list[Answer]:
    """Return the items without those that are written twice, spaces aside: a set has each once."""
    return list({_letters(item.text): item for item in items}.values())


def _pairwise(gold: Sequence[Answer], pred: Sequence[Answer], policy: Policy) -> bool:
    return all(equal(_value(a), _value(b), policy) for a, b in zip(gold, pred, strict=True))


def _sets_equal(gold: Sequence[Answer], pred: Sequence[Answer], policy: Policy) -> bool:
    """Return whether each of the gold's items has its equal in any order. `x = 1` fits 1, but not `y = 1`."""
    if len(gold) != len(pred) or len(gold) > 60:  # more is a mere listing, and comparing all pairs would take too long
        return False
    rest = list(pred)
    for item in gold:
        match = next(
            (i for i, other in enumerate(rest) if equal(item, other, policy) or _same_name(item, other, policy)), None
        )
        if match is None:
            return False
        del rest[match]
    return True


def _same_name(gold: Answer, pred: Answer, policy: Policy) -> bool:
    """Return whether one of two answers is named, or both alike, and their values are equal."""
    names = [answer.sides[0] for answer in (gold, pred) if isinstance(answer, Relation)]
    if not names or (len(names) == 2 and _letters(names[0]) != _letters(names[1])):
        return False
    return equal(_value(gold), _value(pred), policy)


def _value(answer: Answer) -> Answer:
    value = named_value(answer) if isinstance(answer, Relation) else None
    return value or answer


def _grids(gold: Grid, pred: Grid, policy: Policy) -> bool:
    if (gold.environment == "cases") != (pred.environment == "cases") or len(gold.rows) != len(pred.rows):
        return False
    return all(
        len(a) == len(b) and all(equal(x, y, policy) for x, y in zip(a, b, strict=True))
        for a, b in zip(gold.rows, pred.rows, strict=True)
    )


# Equations and inequalities


def _relation_and_other(gold: Answer, pred: Answer, policy: Policy) -> bool:
    relation, other = (gold, pred) if isinstance(gold, Relation) else (pred, gold)
    assert isinstance(relation, Relation)
    if isinstance(other, Series) and policy.inequalities == "intervals":
        range_ = interval(relation)
        if range_ is not None and (range_.opening, range_.closing) == (other.opening, other.closing):
            return _pairwise(range_.items, other.items, policy)
    for approximate in (False, True):
        value = named_value(relation, approximate)
        if value is None or isinstance(value, Relation):
            continue
        if equal(value, other, policy) if relation is gold else equal(other, value, policy):
            return True
        if "\\approx" not in relation.operators:
            break
    return False


def _relations(gold: Relation, pred: Relation, policy: Policy) -> bool:
    a, b = named_value(gold), named_value(pred)
    are_equations = "=" in gold.operators and "=" in pred.operators
    if (
        are_equations
        and isinstance(a, Number)
        and b is not None
        and equal(a, b, policy)
        and may_name_one(_letters(gold.sides[0]), _letters(pred.sides[0]))
    ):
        return True
    if a is not None and b is not None and _is_function(gold.sides[0]) and _is_function(pred.sides[0]):
        return equal(a, b, policy)  # y = 2x + 1 and f(x) = 2x + 1
    if "\\approx" in (*gold.operators, *pred.operators):
        exact = [r if "\\approx" not in r.operators else Formula(_without_approximation(r)) for r in (gold, pred)]
        return algebra_equal(to_latex(exact[0]), to_latex(exact[1]))
    if algebra_equal(to_latex(gold), to_latex(pred)):
        return True
    if len(gold.sides) == len(pred.sides) and _chains(gold, pred, policy):
        return True
    if gold.operators != ("=",) or pred.operators != ("=",) or a is not None or b is not None:
        return False
    sides = [(latex(r.sides[0]), latex(r.sides[1])) for r in (gold, pred)]
    return equations_equal(sides[0], sides[1])


def _chains(gold: Relation, pred: Relation, policy: Policy) -> bool:
    """Return whether two inequalities say the same: a < b < c and c > b > a, x + y < 1 and 2 > 2x + 2y."""
    (signs, sides), (other_signs, other_sides) = upward(gold), upward(pred)
    if signs != other_signs or not set(signs) <= {"<", "\\le"}:
        return False
    if len(signs) == 1:
        a, b = (latex(sides[0]), latex(sides[1])), (latex(other_sides[0]), latex(other_sides[1]))
        return equations_equal(a, b, keeps_sign=True)
    return all(equal(read_plain(a), read_plain(b), policy) for a, b in zip(sides, other_sides, strict=True))


def _without_approximation(relation: Relation) -> str:
    return relation.text.partition("\\approx")[0].strip() or relation.text


def _is_function(side: str) -> bool:
    return re.fullmatch(r"y|[a-zA-Z](?:_\{\w+\}|\^\{-1\}|'+)?\([a-z]\)", _letters(side)) is not None


# Texts and algebra


_ALL_REALS = ("all real numbers", "all reals")
_REALS = ("\\mathbb{R}", "(-\\infty,\\infty)", "(-\\infty,+\\infty)", "x\\in\\mathbb{R}")


def _words(gold: Answer, pred: Answer, policy: Policy) -> bool:
    texts = [normalise_text(without_marks(answer.text)) for answer in (gold, pred)]
    if texts[1] in _ALL_REALS and _letters(gold.text) in _REALS:
        return True
    if texts[0] in _ALL_REALS and "\\mathbb{R}" in pred.text:
        return _letters(pred.text) in _REALS
    return texts[0] == texts[1]


Comparison = Callable[..., bool]
# The first row whose kinds fit decides; of pairs in no row `equal` says what becomes of them.
_COMPARISONS: tuple[tuple[tuple[tuple[type, ...] | type, tuple[type, ...] | type], Comparison], ...] = (
    ((Words, (Words, Formula, Number, Series, Relation)), _words),
    (((Formula, Number, Series), Words), _words),
    ((Number, Number), numbers_equal),
    ((Number, Series), _number_and_series),
    ((Series, Number), _number_and_series),
    ((Based, (Based, Number, Relation, Formula)), _based_equal),
    (((Number, Relation, Formula), Based), _based_equal),
    ((Moment, Moment), moments_equal),
    ((Moment, Series), moment_and_ratio_equal),
    ((Series, Moment), moment_and_ratio_equal),
    (((Duration, Number), (Duration, Number)), durations_equal),
    ((Series, Series), _series),
    ((Grid, Grid), _grids),
    ((Relation, Relation), _relations),
    ((Relation, (Number, Series, Formula, Duration, Moment, Grid)), _relation_and_other),
    (((Number, Series, Formula, Duration, Moment, Grid), Relation), _relation_and_other),
)
