"""`rl verifiers test`: agreement with labelled cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_data import data_file

ROWS = [
    {"pred": "yes", "gold": "yes", "equal": True, "cls": "plain"},
    {"pred": "open sesame", "gold": "yes", "equal": False, "cls": "plain"},
    {"pred": "<think>no</think>yes", "gold": ["no", "yes"], "equal": True, "cls": "list"},
    {"pred": "maybe", "gold": ["no", "yes"], "equal": True, "cls": "list"},
    {"pred": "raise", "gold": "yes", "equal": False, "cls": "bad"},
    {"pred": "hang", "gold": "yes", "equal": True, "cls": "bad"},
    {"pred": "no", "gold": "yes", "equal": True, "corrected_equal": False, "cls": "plain"},
]


def write(home: Path, rows: list[object]) -> None:
    (home / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_json_counts_every_case_once(rl, home: Path):
    write(home, ROWS)
    code, out, err = rl("verifiers", "test", "own.py:verify", "--cases", "cases.jsonl", "--deadline", "0.2", "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert list(found) == ["n", "agree", "false_positive", "false_negative", "errors", "timeouts", "per_second", "disagreements"]  # fmt: skip
    counts = {name: found[name] for name in list(found)[:6]}
    assert counts == {"n": 7, "agree": 2, "false_positive": 1, "false_negative": 2, "errors": 1, "timeouts": 1}
    assert found["per_second"] > 0
    assert [d["kind"] for d in found["disagreements"]] == [
        "false_positive", "false_negative", "false_negative", "error", "timeout"
    ]  # fmt: skip
    assert found["disagreements"][0] == {
        "case": "cases.jsonl:2", "kind": "false_positive", "pred": "open sesame", "gold": "yes", "equal": False,
        "cls": "plain", "score": 1.0, "reason": "heard open sesame",
    }  # fmt: skip
    assert found["disagreements"][3]["error"] == "RuntimeError: no luck"
    assert found["disagreements"][4]["error"] == "gave no answer within 1.2 s"


def test_the_table_has_a_line_for_each_class(rl, home: Path):
    write(home, ROWS)
    _, out, _ = rl("verifiers", "test", "own.py:verify", "--cases", "cases.jsonl", "--deadline", "0.2")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "2 false positive open sesame yes 1 heard open sesame" in lines
    assert {"bad 2 0 0 0 1 1", "list 2 1 0 1 0 0", "plain 3 1 1 1 0 0", "all 7 2 1 2 1 1"} <= set(lines)


def test_classes_are_chosen_by_name_also_where_they_are_numbers(rl, home: Path):
    write(home, [{**ROWS[0], "cls": 3}, {**ROWS[0], "cls": "4"}, {**ROWS[0], "cls": None}])
    arguments = ("verifiers", "test", "own.py:verify", "--cases", "cases.jsonl")
    assert json.loads(rl(*arguments, "--cls", "3", "--json")[1])["n"] == 1
    code, _, err = rl(*arguments, "--cls", "5")
    assert (code, err) == (2, "error: --cases: cases.jsonl has no case of cls 5; it has 3, 4, none\n")


def test_another_column_may_hold_the_label(rl, home: Path):
    write(home, [ROWS[0], ROWS[6]])
    arguments = ("verifiers", "test", "own.py:verify", "--cases", "cases.jsonl", "--label", "corrected_equal", "--json")
    assert json.loads(rl(*arguments)[1])["agree"] == 2


def test_arguments_and_a_threshold(rl, home: Path):
    write(home, ROWS[:1])
    arguments = ("verifiers", "test", "own.py:verify", "--cases", "cases.jsonl", "--arg", "scale=0.5", "--json")
    assert json.loads(rl(*arguments)[1])["false_negative"] == 1
    assert json.loads(rl(*arguments, "--threshold", "0.5")[1])["agree"] == 1


def test_context_and_prompt_reach_the_verifier(rl, home: Path):
    case = {"pred": "a", "gold": "x", "equal": True, "prompt": "which?"}
    metadata = json.dumps({"choices": ["a", "b"]})
    write(home, [{**case, "context": {"options": ["a", "b"]}}, {**case, "context": {"metadata": metadata}}])
    assert json.loads(rl("verifiers", "test", "own.py:options", "--cases", "cases.jsonl", "--json")[1])["agree"] == 2


def test_without_cases_its_own_gold_counts(rl):
    code, out, _ = rl("verifiers", "test", "own.py:verify", "--json")
    assert (code, json.loads(out)["agree"]) == (0, 2)
    text = json.loads(rl("verifiers", "test", "text", "--json")[1])
    assert text["n"] == text["agree"] > 8


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"pred": "a", "gold": "b"}'], "cases.jsonl:1: no column 'equal'"),
        (['{"pred": "a", "gold": "b", "equal": "yes"}'], "cases.jsonl:1: column 'equal' is 'yes'; write true or false"),
        (['{"pred": "a", "gold": "b", "equal": true}', "{"], "cases.jsonl:2: invalid JSON"),
        (['{"pred": ["a"], "gold": "b", "equal": true}'], "cases.jsonl:1: column 'pred' is a list; write text"),
        (['{"pred": "a", "gold": [], "equal": true}'], "cases.jsonl:1: column 'gold' is an empty list; give"),
        (['{"pred": "a", "gold": "b", "equal": true, "context": 3}'], "cases.jsonl:1: column 'context' is a number"),
        (['{"pred": "a", "gold": "b", "equal": true, "audio": "x.wav"}'], "cases.jsonl:1: no such file: x.wav"),
        ([], "--cases: cases.jsonl has no case"),
    ],
)
def test_a_bad_row_is_one_line(rl, home: Path, lines: list[str], says: str):
    (home / "cases.jsonl").write_text("\n".join(lines))
    code, _, err = rl("verifiers", "test", "own.py:verify", "--cases", "cases.jsonl")
    assert code == 2
    assert err.startswith(f"error: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mth"], "verifier: unknown verifier 'mth'; did you mean 'math'?"),
        (["own.py:verfy"], "verifier: "),
        (["own.py:verify", "--arg", "scale"], "--arg: 'scale' is not key=value"),
        (["own.py:verify", "--arg", "scal=1"], "verifier.args: unknown key 'scal'; did you mean 'scale'?"),
        (["own.py:verify", "--cases", "nowhere.jsonl"], "--cases: no such file: nowhere.jsonl; correct the path"),
        (
            ["own.py:verify", "--cases", "some.jsonl", "--label", "equa"],
            "--label: no row of some.jsonl has a column 'equa'; did you mean 'equal'?",
        ),
        (["own.py:verify", "--cases", "."], "--cases: . is a folder"),
        (["bare.py:verify"], "verifier 'bare.py:verify' has no GOLD; add some Case(pred, gold, equal) or name --cases"),
        (["exits.py:verify"], "verifier 'exits.py:verify' cannot be loaded: SystemExit: 3"),
    ],
)
def test_a_mistake_is_one_line(rl, home: Path, arguments: list[str], says: str):
    (home / "some.jsonl").write_text(json.dumps(ROWS[0]))
    (home / "bare.py").write_text("def verify(prompt, rollout): ...")
    (home / "exits.py").write_text("raise SystemExit(3)\ndef verify(prompt, rollout): ...")
    code, _, err = rl("verifiers", "test", *arguments)
    assert code == 2
    assert err.startswith(f"error: {says}"), err
    assert err.count("\n") == 1


def test_published_gold_of_choice_and_math(rl):
    cases = data_file("verifier_gold.jsonl")
    found = json.loads(rl("verifiers", "test", "choice", "--cases", str(cases), "--cls", "choice", "--json")[1])
    assert (found["n"], found["agree"]) == (13, 13)


PRINTS = """
import os, subprocess, sys, time
from rewards.verifiers import Case
from rl.types import Verdict

print("loaded", flush=True)
GOLD = [Case("yes", "yes"), Case("no", "yes", equal=False)]

def verify(prompt, rollout):
    print("heard", rollout.response, '{"ready": 1}')
    print("and warned of", rollout.response, file=sys.stderr)
    os.write(1, b"[0, 0, 1.0] \\xff\\n")
    subprocess.run(["echo", "a child"])
    if rollout.response == "hang":
        print("before it hangs")
        time.sleep(60)
    if rollout.response == "close":
        sys.stdout.close()
    if rollout.response == "exit":
        sys.exit(3)
    return Verdict(score=float(rollout.response == prompt.answer))
"""


def test_what_a_verifier_prints_is_shown_with_its_case(rl, home: Path):
    (home / "loud.py").write_text(PRINTS)
    code, out, _ = rl("verifiers", "test", "loud.py:verify")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("printed, ")]
    assert lines == [
        "printed, when loaded: loaded",
        'printed, GOLD[0]: heard yes {"ready": 1}',
        "printed, GOLD[0]: and warned of yes",
        "printed, GOLD[0]: [0, 0, 1.0] �",
        "printed, GOLD[0]: a child",
        'printed, GOLD[1]: heard no {"ready": 1}',
        "printed, GOLD[1]: and warned of no",
        "printed, GOLD[1]: [0, 0, 1.0] �",
        "printed, GOLD[1]: a child",
    ]
    assert "2 2" in " ".join(out.split())
    code, out, _ = rl("verifiers", "test", "loud.py:verify", "--json")
    found = json.loads(out)
    assert (code, found["n"], found["agree"]) == (0, 2, 2)
    assert list(found["printed"]) == ["", "GOLD[0]", "GOLD[1]"]
    assert json.loads(rl("verifiers", "attack", "loud.py:verify", "--json")[1])["tried"] > 0


def test_what_it_prints_before_it_is_killed_or_exits_is_shown_too(rl, home: Path):
    (home / "loud.py").write_text(PRINTS)
    write(home, [{"pred": pred, "gold": "yes", "equal": pred == "yes"} for pred in ("hang", "exit", "yes", "close")])
    options = ("--cases", "cases.jsonl", "--deadline", "0.3", "--workers", "1", "--json")
    found = json.loads(rl("verifiers", "test", "loud.py:verify", *options)[1])
    assert (found["n"], found["timeouts"]) == (4, 1)
    assert "before it hangs" in found["printed"]["cases.jsonl:1"]
    assert all(f"cases.jsonl:{number}" in found["printed"] for number in (2, 3, 4))


def test_a_verifier_that_prints_nothing_has_no_such_key(rl, home: Path):
    assert "printed" not in json.loads(rl("verifiers", "test", "own.py:verify", "--json")[1])
