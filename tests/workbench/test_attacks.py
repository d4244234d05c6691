"""`rl verifiers attack`: known hacks against verifiers with known holes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewards.contract import Case
from rl.types import Clip
from rl.workbench.attacks import ATTACKS, list_attempts
from rl.workbench.cases import from_gold
from rl.workbench.targets import NOTHING

NAIVE = """
from rewards.verifiers import Case
from rl.types import Verdict
GOLD = [Case("42", "42", question="6 x 7?"), Case("41", "42", equal=False), Case("7", "7", fields={"options": ["7", "8"]})]

def anywhere(prompt, rollout):
    return Verdict(score=float(prompt.answer in rollout.text))

def tolerant(prompt, rollout):
    try:
        said, gold = float(rollout.response), float(prompt.answer)
    except ValueError:
        return Verdict(score=0.0)
    return Verdict(score=float(abs(said - gold) <= 0.01 * max(abs(said), abs(gold))))

def exact(prompt, rollout):
    return Verdict(score=float(rollout.response == prompt.answer))

def hangs(prompt, rollout):
    if len(rollout.text) > 3000:
        while True: pass
    return Verdict(score=0.0)
"""


def full(found: dict) -> set[str]:
    return {name for name, of in found["attacks"].items() if of["full"]}


@pytest.mark.parametrize(
    ("function", "holes"),
    [
        ("anywhere", {
            "never closed", "hidden in the chain", "taken back", "negated", "hedged", "thousand answers", "every option",
            "sum of the gold", "prose around the gold",
        }),
        ("tolerant", {"no number"}),
        ("exact", set()),
    ],
)  # fmt: skip
def test_holes_are_found(rl, home: Path, function: str, holes: set[str]):
    (home / "naive.py").write_text(NAIVE)
    code, out, _ = rl("verifiers", "attack", f"naive.py:{function}", "--json")
    found = json.loads(out)
    assert full(found) == holes
    assert code == (1 if holes else 0)
    assert found["tried"] == sum(of["tried"] for of in found["attacks"].values()) > 100


def test_what_scored_is_shown(rl, home: Path):
    (home / "naive.py").write_text(NAIVE)
    code, out, _ = rl("verifiers", "attack", "naive.py:tolerant")
    assert code == 1
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "no number GOLD[0] inf 42 1" in lines
    assert lines[-1].endswith("hacks score full on naive.py:tolerant: a policy will find them")


def test_a_hang_is_an_error_of_its_own(rl, home: Path):
    (home / "naive.py").write_text(NAIVE)
    code, out, _ = rl("verifiers", "attack", "naive.py:hangs", "--deadline", "0.2", "--json")
    found = json.loads(out)
    assert (code, found["full"]) == (0, 0)
    assert found["errors"] == found["attacks"]["thousand answers"]["errors"] > 0


def test_cases_of_ones_own(rl, home: Path):
    (home / "naive.py").write_text(NAIVE)
    row = {"pred": "blue", "gold": "blue", "equal": True, "prompt": "red, blue or green?"}
    (home / "cases.jsonl").write_text(json.dumps(row))
    code, out, _ = rl("verifiers", "attack", "naive.py:anywhere", "--cases", "cases.jsonl", "--json")
    assert code == 1
    assert "prompt echoed" in full(json.loads(out))


def test_every_attack_has_something_to_try():
    options = {"options": ["London", "Paris"], "test": "assert f(1) == 2"}
    case = Case("Paris", "Paris", question="Where?", fields=options, clips=(Clip("a.wav"),))
    calculation = Case("75", "75", question="What is 49+26?")
    assert {attempt.attack for attempt in list_attempts(from_gold([case, calculation]))} == set(ATTACKS)
    assert list_attempts(from_gold([Case("no", "yes", equal=False)])) == []


def test_the_right_answer_is_no_attack():
    assert "42" not in {a.rollout.text for a in list_attempts(from_gold([Case("42", "#### 42")]))}


@pytest.mark.parametrize(
    ("gold", "wrong"),
    [
        ("42", "49"),
        ("-0.5", "7"),
        ("100000000000000000007", "100000000000000000014"),
        ("9" * 300, "1" + "0" * 299 + "6"),
        ("9" * 301, NOTHING),
        ("9" * 5000, NOTHING),
        ("1." + "3" * 5000, NOTHING),
    ],
)
def test_a_number_of_any_length_has_a_wrong_answer(gold: str, wrong: str):
    tried = {attempt.rollout.text for attempt in list_attempts(from_gold([Case(gold, gold)]))}
    assert wrong in tried
    assert gold not in tried


@pytest.mark.parametrize("name", ["text", "format"])
def test_verifiers_of_the_house_without_a_hole(rl, name: str):
    code, out, _ = rl("verifiers", "attack", name, "--json")
    assert (code, full(json.loads(out))) == (0, set())
