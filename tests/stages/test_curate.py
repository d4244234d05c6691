from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rl.stages.curate import Config, fingerprint_of, functions_of, user_code
from rl.types import Clip, Message, Prompt
from rollouts.environments.config import EnvironmentConfig, ToolConfig
from rollouts.environments.service import EnvironmentService

PROMPT = Prompt("1", (Message("system", "Be brief."), Message("user", "2+2?")), "4", fields={"options": ["4", "5"]})
ASKED = {"think": True, "reward": {"parts": ["math"]}, "seed": 0}


def test_difficulties_are_reused_only_where_all_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    first = fingerprint_of(Config("d"), tmp_path, [PROMPT], ASKED)
    assert fingerprint_of(Config("d", keep=(1, 2), limit=9), tmp_path, [PROMPT], dict(ASKED)) == first
    others = [
        fingerprint_of(Config("d", temperature=0.5), tmp_path, [PROMPT], ASKED),
        fingerprint_of(Config("d"), tmp_path, [PROMPT], {**ASKED, "reward": {"parts": ["text"]}}),
        fingerprint_of(Config("d"), tmp_path, [PROMPT], {**ASKED, "think": False}),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, answer="5")], ASKED),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, messages=PROMPT.messages[1:])], ASKED),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, fields={"options": ["4"]})], ASKED),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, later=(Clip(data=b"a bell"),))], ASKED),
        fingerprint_of(Config("d"), tmp_path, [replace(PROMPT, later=(Clip(data=b"a dog"),))], ASKED),
    ]
    for name, content in (("tokenizer.json", b"[]"), ("model.safetensors", b"others")):
        (tmp_path / name).write_bytes(content)
        others.append(fingerprint_of(Config("d"), tmp_path, [PROMPT], ASKED))
    assert len({first, *others}) == len(others) + 1


def test_difficulties_depend_on_the_code_of_the_users_functions(tmp_path: Path) -> None:
    """An edited verifier judges otherwise, also where the edit is in a module beside it."""
    files = {
        "mine.py": "import words\nfrom numbers import Number\n\ndef verify(prompt, rollout): ...\n",
        "words.py": "from . import more\n",
        "more.py": "WORDS = ['a']\n",
        "stranger.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    specs = ["math", "mine.py:verify", "rewards.verifiers.text:verify"]
    first = user_code(specs, tmp_path)
    assert (len(first), user_code(specs[:1], tmp_path)) == (4, [])
    assert user_code(["mine.py:other", *specs], tmp_path) == first
    for name, is_read in (("mine.py", True), ("words.py", True), ("more.py", True), ("stranger.py", False)):
        (tmp_path / name).write_text(files[name] + "# changed\n")
        assert (user_code(specs, tmp_path) != first) is is_read
        (tmp_path / name).write_text(files[name])


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (EnvironmentConfig(step="game.py:step"), ["game.py:step"]),
        (EnvironmentConfig(tools=["calculator", ToolConfig("mine.py:look")]), ["calculator", "mine.py:look"]),
    ],
)
def test_an_environments_functions_are_named_as_in_the_recipe(
    tmp_path: Path, config: EnvironmentConfig, names: list[str]
) -> None:
    for name in ("game.py", "mine.py"):
        (tmp_path / name).write_text("def step(prompt, rollout): ...\ndef look(text): ...\n")
    with EnvironmentService(config, tmp_path) as environment:
        assert functions_of(environment) == names
