"""Tells what several lines or several ways of saying a number come to: a chain of equations, "3/4 or 0.75"."""

from __future__ import annotations

from rewards.answers.grammar import read_number, read_plain
from rewards.answers.kinds import Answer, Number, Relation, Series
from rewards.answers.relations import is_name, named_value
from rewards.answers.values import same_value


def single_number(series: Series) -> Number | None:
    """Return the number that a series comes to: the end of a chain of equations, or what all its alternatives equal; None
    where it gives several."""
    if series.opening == "or":
        return _common(series)
    if series.opening or not all(isinstance(item, Relation) for item in series.items):
        return None
    return _end_of_chain([item for item in series.items if isinstance(item, Relation)])


def _common(series: Series) -> Number | None:
    numbers = [item for item in series.items if isinstance(item, Number) and not item.value.undone]
    if len(numbers) < len(series.items):
        return None
    first = numbers[0]
    return first if all(same_value(first.value, n.value) and first.unit == n.unit for n in numbers) else None


def _end_of_chain(relations: list[Relation]) -> Number | None:
    """Return the number that the last of several equations gives its name, unless another gives that name another one."""
    last = relations[-1]
    value = _number(named_value(last))
    if value is None or not is_name(last.sides[0]):
        return None
    for relation in relations[:-1]:
        other = read_number(relation.sides[-1])
        is_same_name = relation.sides[0] == last.sides[0]
        if is_same_name and other is not None and not same_value(other.value, value.value):
            return None
        if not is_same_name and is_name(relation.sides[0]) and last.sides[0] not in relation.text:
            return None  # x = 1, y = 2: two answers
    return value


def _number(answer: Answer | None) -> Number | None:
    if isinstance(answer, Relation):
        answer = read_plain(answer.sides[-1])
    return answer if isinstance(answer, Number) else None
