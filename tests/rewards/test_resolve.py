from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rewards import resolve
from rl.config import ConfigError

PLACE = "rlvr.reward.parts[0].verifier"


def test_in_tree_verifiers_have_a_one_line_contract():
    contracts = resolve.list_verifiers()
    assert set(contracts) >= {"math", "choice", "text", "format", "relisten", "consistency"}
    assert all(line.endswith(".") for line in contracts.values())


def test_checking_imports_no_verifier():
    code = (
        "import sys; from pathlib import Path; from rewards import combine, resolve; resolve.list_verifiers();"
        "resolve.check('math', 'p'); resolve.check('rewards.verifiers.math:verify', 'p');"
        "heavy = {'sympy', 'math_verify', 'torch', 'ray', 'numpy', 'rewards.verifiers.math'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_is_checked_without_running_it(tmp_path: Path):
    (tmp_path / "own.py").write_text("raise SystemExit\ndef verify(prompt, rollout, **args): ...\n")
    resolve.check("own.py:verify", PLACE, tmp_path, {"anything": 1})


def test_a_module_is_found_beside_the_recipe(tmp_path: Path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "__init__.py").write_text("raise SystemExit\n")
    (tmp_path / "rules" / "own.py").write_text("from x import verify\n")
    resolve.check("rules.own:verify", PLACE, tmp_path)


@pytest.mark.parametrize(
    ("spec", "args", "message"),
    [
        ("maths", {}, r"parts\[0\].verifier: unknown verifier 'maths'; did you mean 'math'\?"),
        (
            "quality",
            {},
            r"unknown verifier 'quality'; known: arbitration, benchmark, .*choice, .*format, .*math, .*text",
        ),
        ("nothing.py:verify", {}, r"no file nothing.py in .*tests/rewards or "),
        ("hostile.py:verifi", {}, r"hostile.py defines no 'verifi'; did you mean 'verify'\?"),
        ("hostile.py:", {}, r"names no function; write hostile.py:fn"),
        ("nowhere.at.all:fn", {}, r"no module 'nowhere' to import"),
        ("rewards.nothing:fn", {}, r"no module 'rewards.nothing' to import"),
        ("text", {"normalize": True}, r"parts\[0\].args: unknown key 'normalize'; did you mean 'normalise'\?"),
        ("math", {"tolerance": 1}, r"parts\[0\].args: unknown key 'tolerance'; known: bases, inequalities"),
        ("choice", {"rule": "freee"}, r"parts\[0\].args.rule: 'freee' is not allowed; did you mean 'free'\?"),
        ("text", {"normalise": "maybe"}, r"args.normalise: expected true or false; got 'maybe'"),
        ("numeric", {"relative": "abc"}, r"args.relative: expected a number; got 'abc'"),
        ("length", {"max_tokens": "abc", "buffer": 4}, r"args.max_tokens: expected a whole number; got 'abc'"),
        ("language", {"language": 3}, r"args.language: expected text; got 3"),
        ("async.py:verify", {"x": 1}, r"parts\[0\].args: unknown key 'x'; it takes none"),
        ("hostile.py:wants", {}, r"parts\[0\].args: missing key 'threshold' of wants; add `threshold: …`"),
        ("hostile.py:alone", {}, r"alone\(prompt\) must take \(prompt, rollout, …\)"),
        ("broken.py:verify", {}, r"broken.py, line 1: "),
    ],
)
def test_mistakes_are_named(spec: str, args: dict[str, object], message: str, folder: Path, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("def verify(:\n")
    (tmp_path / "async.py").write_text("async def verify(prompt, rollout): ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        resolve.check(spec, PLACE, folder, args)


def test_arguments_are_what_annotations_say_where_there_are_some(tmp_path: Path):
    (tmp_path / "own.py").write_text(
        "def verify(p, r, *, a: float, b: 'odd' = 1, c: list[str] | None = None, d=2): ...\n"
    )
    given = {"a": "1e-5", "b": "x", "c": ["y"], "d": []}
    assert resolve.check("own.py:verify", PLACE, tmp_path, given) == {**given, "a": 1e-5}
    with pytest.raises(ConfigError, match=r"args.c\[0\]: expected text; got 3"):
        resolve.check("own.py:verify", PLACE, tmp_path, {"a": 1, "c": [3]})


def test_loading(folder: Path):
    assert resolve.load("format").gold
    own = resolve.load("hostile.py:verify", folder)
    assert (own.verify.function.__name__, own.gold) == ("verify", None)
    with pytest.raises(ConfigError, match=r"'hostile.py:number' is not a function"):
        resolve.load("hostile.py:number", folder)
