"""Code that a model's folder brings along never runs."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADERS = {"from_pretrained", "from_config", "get_config", "LLM", "EngineArgs", "AsyncEngineArgs", "pipeline"}
"""Callables of transformers and vLLM that may run a model's own code."""


def _loaders() -> list[tuple[str, ast.Call]]:
    """(place, call) of every call in the product that loads a model, a tokenizer or a processor."""
    calls: list[tuple[str, ast.Call]] = []
    for house in ("models", "rewards", "rl", "rollouts", "recipes", "scripts"):
        for file in sorted((ROOT / house).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in LOADERS:
                    calls.append((f"{file.relative_to(ROOT)}:{node.lineno}", node))
    return calls


def _refuses(call: ast.Call) -> bool:
    """Whether a call says `trust_remote_code=False`, as a keyword or in a mapping that is unpacked into it."""
    for keyword in call.keywords:
        values = {keyword.arg: keyword.value}
        if keyword.arg is None and isinstance(keyword.value, ast.Dict):
            pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
            values = {key.value: value for key, value in pairs if isinstance(key, ast.Constant)}
        flag = values.get("trust_remote_code")
        if isinstance(flag, ast.Call) and ast.unparse(flag.func) == "cast":
            flag = flag.args[1]
        if isinstance(flag, ast.Constant) and flag.value is False:
            return True
    return False


def test_every_loader_refuses_a_models_own_code() -> None:
    calls = _loaders()
    assert len(calls) > 8, "the search finds them"
    assert [place for place, call in calls if not _refuses(call)] == []


@pytest.mark.parametrize("answers", ["y\n" * 20, "yes\n" * 20, ""])
def test_nobody_is_asked_whether_to_run_it(tied: Path, tmp_path: Path, answers: str) -> None:
    folder = Path(shutil.copytree(tied, tmp_path / "model"))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    entries = {f"Auto{kind}": "evil.Evil" for kind in ("Config", "Model", "ModelForCausalLM")}
    for name, auto_map in (("config.json", entries), ("tokenizer_config.json", {"AutoTokenizer": ["evil.Evil", None]})):
        values = json.loads((folder / name).read_text())
        unknown = {"model_type": "evil"} if name == "config.json" else {"tokenizer_class": "Evil"}
        (folder / name).write_text(json.dumps({**values, **unknown, "auto_map": auto_map}))
    script = f"""
from models.hearing import clip_counter
from models.load import empty_model, load_model, load_tokenizer
for load in (load_tokenizer, load_model, clip_counter, empty_model):
    try:
        load({str(folder)!r})
    except ValueError as error:
        print(load.__name__, "refused")
"""
    done = subprocess.run([sys.executable, "-c", script], input=answers, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists(), "the model's code ran"
    assert "[y/N]" not in done.stdout + done.stderr, "transformers asked"
    assert {"load_model refused", "clip_counter refused", "empty_model refused"} <= set(done.stdout.splitlines())
