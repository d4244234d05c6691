"""Values of YAML that would be read as something else than is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.config import ConfigError, read_yaml
from rl.recipe import load
from rl.yaml_scalars import find_ambiguous

AMBIGUOUS = [
    ("010", "010: a zero in front makes it the octal number 8; write 10 for the number, or '010' in quotes for a text"),
    ("-010", "the octal number -8; write -10 for the number"),
    ("007", "the octal number 7; write 7 for the number"),
    ("08", "08: a zero in front makes it no number; write 8 for the number"),
    ("0_10", "the octal number 8; write 10"),
    ("00", "the octal number 0; write 0"),
    ("12:30", "12:30: colons make it the number 750 (base 60); write 750 for the number, or '12:30' in quotes"),
    ("1:30:00", "the number 5400 (base 60)"),
    ("20:30.15", "the number 1230.15 (base 60)"),
    ("yes", "yes: YAML reads it as true; write true, or 'yes' in quotes for a text"),
    ("No", "No: YAML reads it as false; write false, or 'No' in quotes"),
    ("ON", "YAML reads it as true; write true"),
    ("off", "YAML reads it as false; write false"),
]


@pytest.mark.parametrize(("value", "reason"), AMBIGUOUS, ids=[value for value, _ in AMBIGUOUS])
def test_an_ambiguous_value_is_refused_wherever_it_stands(value: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    for text, line in (
        (f"a: {value}", 1),
        (f"a: 1\nb:\n  - {{c: [x, {value}]}}", 3),
        (f"? {value}\n: 1", 1),
        (f"a: &x {value}\nb: *x", 1),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_yaml(file)
        assert str(caught.value).startswith(f"{file}:{line}: {value}: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load({"name": "x"}, [f"rlvr.steps={value}"])
    assert str(caught.value).startswith(f"override 'rlvr.steps={value}': {value}: ")


@pytest.mark.parametrize("value", [value for value, _ in AMBIGUOUS])
def test_quotes_make_it_a_text(value: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"a: '{value}'\nb: \"{value}\"\nc: |-\n  {value}\n'{value}': d")
    assert dict(read_yaml(file)) == {"a": value, "b": value, "c": value, value: "d"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000", 1000), ("0", 0), ("0.5", 0.5), ("-0.5", -0.5), ("1e-5", 1e-5), ("0x10", 16), ("0o10", "0o10"),
        ("true", True), ("null", None), ("y", "y"), ("yes please", "yes please"), ("2024-01-01", "2024-01-01"),
        ("http://a:80/b", "http://a:80/b"), ("1:5a", "1:5a"), ("0.0", 0.0), ("'010'", "010"), ("a:01", "a:01"),
    ],
)  # fmt: skip
def test_what_is_read_as_it_is_written(text: str, value: object, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"a: {text}")
    assert read_yaml(file).a == value


def test_a_number_in_another_notation_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "name: x\nmodel: {build: {}}\nreward: {parts: [{verifier: text}]}\nseed: 0o10\nstages: [{sft: {data: d}}]"
    )
    with pytest.raises(ConfigError, match=r"^seed: expected a whole number; got '0o10'; write its decimal digits$"):
        load(file)


@given(
    st.one_of(
        st.integers().map(str), st.floats(allow_nan=False).map(repr), st.from_regex(r"[-+0-9_:.]{1,8}", fullmatch=True)
    )
)
def test_no_number_is_read_as_another(text: str) -> None:
    """Whatever is written with digits: it is refused, stays a text, or is the number that Python reads."""
    import yaml

    try:
        ambiguous, value = find_ambiguous(text), yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return
    if ambiguous is None and isinstance(value, int | float):
        digits = text.replace("_", "")
        assert value == (int(digits) if isinstance(value, int) else float(digits))
