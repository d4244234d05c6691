"""Values that storage hides: classes as numbers, floats for whole numbers, nulls; the same gold from every format."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rl.data.rows import plain_decimal
from rl.data.sources import DataConfig, load


def golds(config: DataConfig) -> list[str | None]:
    return [prompt.answer for prompt in load(config)]


def parquet(folder: Path, answers: Any) -> DataConfig:
    """A parquet file with these answers, an arrow array."""
    import pyarrow.parquet

    table = pyarrow.table({"question": [f"q{i}" for i in range(len(answers))], "answer": answers})
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    return DataConfig("parquet", str(folder / "rows.parquet"))


def every_format(frame: Any, folder: Path) -> dict[str, DataConfig]:
    """A pandas frame as each format that is read, and the configs that read it."""
    import datasets

    frame.to_parquet(folder / "rows.parquet")
    frame.to_json(folder / "rows.jsonl", orient="records", lines=True)
    frame.to_csv(folder / "rows.csv", index=False)
    datasets.Dataset.from_pandas(frame).save_to_disk(folder / "saved")
    datasets.Dataset.from_pandas(frame).with_format("numpy").save_to_disk(folder / "numpy")
    csv = {"data_files": str(folder / "rows.csv"), "cache_dir": str(folder / "cache")}
    return {
        "parquet": DataConfig("parquet", str(folder / "rows.parquet")),
        "jsonl": DataConfig("jsonl", str(folder / "rows.jsonl")),
        "csv": DataConfig("huggingface", "csv", args=csv),
        "arrow": DataConfig("huggingface", str(folder / "saved")),
        "numpy": DataConfig("huggingface", str(folder / "numpy")),
    }


@pytest.mark.parametrize("dtype", [None, "float64", "Int64", "object"])
def test_whole_numbers_with_nulls_stay_whole_in_every_format(dtype: str | None, tmp_path: Path) -> None:
    import pandas as pd

    values = pd.Series([42, None, -7, 0, 123456789], dtype=dtype)
    frame = pd.DataFrame({"question": list("abcde"), "answer": values})
    for name, config in every_format(frame, tmp_path).items():
        assert golds(config) == ["42", None, "-7", "0", "123456789"], name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.integers(-(2**53), 2**53), min_size=1, max_size=6), st.booleans())
def test_any_whole_number_is_its_digits(tmp_path: Path, values: list[int | None], as_floats: bool) -> None:
    import pyarrow

    expected = [None if value is None else str(value) for value in values]
    stored = [None if value is None else float(value) for value in values] if as_floats else values
    assert golds(parquet(tmp_path, pyarrow.array(stored))) == expected
    lines = [json.dumps({"question": "q", "answer": value}) for value in stored]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert golds(DataConfig("jsonl", str(tmp_path / "rows.jsonl"))) == expected
    if as_floats:  # numpy has no null
        nans = [float("nan") if value is None else value for value in stored]
        assert golds(parquet(tmp_path, pyarrow.array(nans, from_pandas=False))) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_in_the_fewest_plain_digits(number: float) -> None:
    digits = plain_decimal(number)
    assert float(digits) == number
    assert set(digits) <= set("-.0123456789")
    assert not digits.endswith(".")
    assert "." not in digits or not digits.endswith("0")


@pytest.mark.parametrize(
    ("number", "digits"),
    [
        (1e-05, "0.00001"), (3e20, "300000000000000000000"), (42.0, "42"), (0.1, "0.1"), (-0.0, "0"), (1e22, "1" + "0" * 22),
        (6.022e23, "602200000000000000000000"), (-2.50, "-2.5"), (100.0, "100"), (Decimal("42.00"), "42"),
        (Decimal("1E+3"), "1000"), (Decimal("-0.00"), "0"), (Decimal("0.10"), "0.1"), (10**30, "1" + "0" * 30),
    ],
)  # fmt: skip
def test_plain_digits(number: float | Decimal, digits: str) -> None:
    assert plain_decimal(number) == digits


def test_types_of_arrow_that_are_numbers_or_text(tmp_path: Path) -> None:
    import pyarrow as pa

    for array, expected in (
        (pa.array([0.1, 1e-5, 3.0], pa.float32()), ["0.1", "0.00001", "3"]),
        (pa.array([0.1, 42.0], pa.float16()), ["0.1", "42"]),
        (pa.array([2**63 + 1], pa.uint64()), [str(2**63 + 1)]),
        (pa.array([Decimal("3.50"), Decimal("42.00")], pa.decimal128(9, 2)), ["3.5", "42"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([1, None, 3], pa.int8()), ["1", None, "3"]),
        (pa.array([None, None], pa.null()), [None, None]),
        (pa.array(["x", None], pa.large_string()), ["x", None]),
    ):
        assert golds(parquet(tmp_path, array)) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (datetime.date(2024, 1, 2), "date"),
        (datetime.datetime(2024, 1, 2), "datetime"),
        (datetime.timedelta(seconds=2), "timedelta"),
        (b"42", "bytes"),
        (True, "true or false"),
    ],
)
def test_what_has_several_written_forms_is_refused(value: object, name: str, tmp_path: Path) -> None:
    import pyarrow

    config = parquet(tmp_path, pyarrow.array([value]))
    says = (
        rf"rows\.parquet: row 1: column 'answer' is {name}, not text or a number; store it as text, as an answer would"
    )
    with pytest.raises(ValueError, match=says):
        load(config)


def test_a_null_in_a_mapped_column_is_refused(tmp_path: Path) -> None:
    import pyarrow

    config = parquet(tmp_path, pyarrow.array([datetime.datetime(2024, 1, 2), None]).cast(pyarrow.timestamp("ns")))
    config.fields["answer"] = "answer"
    with pytest.raises(ValueError, match=r"row 1: column 'answer' is \w+, not text or a number; store it as text"):
        load(config)
    parquet(tmp_path, pyarrow.array([1.0, float("nan")], from_pandas=False))
    with pytest.raises(ValueError, match="row 2: column 'answer' is NaN, not text or a number; correct the row"):
        load(config)


def labelled() -> Any:
    import datasets

    label = datasets.ClassLabel(names=["rising", "falling"])
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "answer": label,
            "options": datasets.List(label),
            "part": {"kind": label, "rate": datasets.Value("float32")},
            "split": datasets.ClassLabel(names=["train", "test"]),
        }
    )
    rows = [
        {"question": "a", "answer": 0, "options": [0, 1], "part": {"kind": 1, "rate": 0.1}, "split": 0},
        {"question": "b", "answer": 1, "options": [1, 0], "part": {"kind": 0, "rate": 0.2}, "split": 0},
        {"question": "c", "answer": -1, "options": [0, 1], "part": None, "split": 1},
    ]
    return datasets.Dataset.from_list(rows, features=features)


def test_a_class_is_its_name(tmp_path: Path) -> None:
    labelled().save_to_disk(tmp_path / "saved")
    labelled().to_parquet(tmp_path / "rows.parquet")
    fields = {"options": "options", "part": "part"}
    for config in (
        DataConfig("huggingface", str(tmp_path / "saved"), fields),
        DataConfig("parquet", str(tmp_path / "rows.parquet"), fields),
    ):
        first, second = load(config, "train")
        assert (first.answer, second.answer) == ("rising", "falling")
        assert first.fields == {"options": ["rising", "falling"], "part": {"kind": "falling", "rate": 0.1}}
        [third] = load(config, "test")
        assert third.answer is None, "-1 stands for a label that is not known"


def test_an_argument_that_the_loader_does_not_know_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "?"}\n')
    args = {"data_files": str(tmp_path / "rows.jsonl"), "foo": 1}
    with pytest.raises(ValueError, match=r"^data\.path: json: .*'foo'; check the name, args and the network$"):
        load(DataConfig("huggingface", "json", args=args))
