"""YAML to dataclasses: what is accepted, and the line a mistake gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from rl.config import ConfigError, build


@dataclass
class Inner:
    learning_rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass
class Outer:
    steps: int
    name: str | None = None
    mode: Literal["a", "b"] = "a"
    think: Literal["auto"] | bool = "auto"
    optimizer: Inner = field(default_factory=Inner)
    extra: dict[str, int] = field(default_factory=dict[str, int])

    def validate(self, place: str) -> None:
        if self.steps < 1:
            raise ConfigError(f"{place}.steps: must be at least 1")


def test_values_become_what_the_fields_say() -> None:
    built = build(Outer, {"steps": 3, "optimizer": {"learning_rate": "1e-5", "betas": [0, 1]}, "extra": {"x": 1}}, "s")
    assert built == Outer(3, optimizer=Inner(1e-5, (0.0, 1.0)), extra={"x": 1})


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"step": 3}, "s: unknown key 'step'; did you mean 'steps'?"),
        ({"steps": 3, "lerning_rate": 1}, "s: unknown key 'lerning_rate'; did you mean 'optimizer.learning_rate'?"),
        ({"steps": 3, "xyz": 1}, "s: unknown key 'xyz'; known: extra, mode, name, optimizer, steps, think"),
        ({"steps": 3, "optimizer": {"learning_rat": 1}}, "s.optimizer: unknown key 'learning_rat'; did you mean"),
        ({"steps": "ten"}, "s.steps: expected a whole number; got 'ten'"),
        ({"steps": True}, "s.steps: expected a whole number; got True"),
        ({"steps": 3, "mode": "c"}, "s.mode: 'c' is not allowed"),
        ({"steps": 3, "optimizer": 3}, "s.optimizer: expected a mapping of learning_rate, betas; got 3"),
        ({"steps": 3, "extra": {"x": "y"}}, "s.extra.x: expected a whole number; got 'y'"),
        ({"steps": 3, "think": "maybe"}, "s.think: expected auto, true or false; got 'maybe'"),
        ({"steps": 0}, "s.steps: must be at least 1"),
        ({}, "s: missing key 'steps'; add `steps: …`"),
        ({"steps": 3, "optimizer": {"learning_rate": float("inf")}}, "s.optimizer.learning_rate: inf is not a finite"),
        ({"steps": 3, "optimizer": {"learning_rate": "nan"}}, "s.optimizer.learning_rate: nan is not a finite number"),
        ({"steps": 3, 5: 1}, "s: unknown key '5'; known: "),
    ],
)
def test_a_mistake_gets_one_line(values: dict[Any, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, values, "s")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
