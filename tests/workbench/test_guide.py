"""What docs/rewards.md says works as it is written there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from rewards.combine import RewardConfig
from rewards.verifiers import judge
from rl.config import build
from rl.recipe import load
from rl.workbench.commands import verifiers

GUIDE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def block(start: str) -> str:
    return next(text for _, text in BLOCKS if text.startswith(start))


def test_the_example_is_tried_attacked_and_checked(rl, home: Path):
    (home / "letters.py").write_text(block('"""The share'))
    (home / "letters.jsonl").write_text(block('{"pred"'))
    (home / "letters.yaml").write_text(block("extends"))
    found = json.loads(rl("verifiers", "test", "letters.py:verify", "--json")[1])
    assert found["n"] == found["agree"] == 6
    found = json.loads(rl("verifiers", "test", "letters.py:verify", "--cases", "letters.jsonl", "--json")[1])
    assert found["n"] == found["agree"] == 3
    assert rl("verifiers", "attack", "letters.py:verify")[0] == 0
    assert [part.name for part in load("letters.yaml").header.reward.parts] == ["accuracy", "letters", "format"]


def test_the_rewards_it_shows_are_valid():
    values = yaml.safe_load(block("reward:\n  parts:                "))
    build(RewardConfig, values["reward"], "reward").validate("reward")
    values = yaml.safe_load(block("reward:\n  parts:\n    - {verifier: math}\n  watch:"))
    assert [opinion.title for opinion in build(RewardConfig, values["reward"], "reward").watch] == ["numeric", "exact"]
    (part,) = yaml.safe_load(block("    - verifier: judge"))
    build(judge.Config, part["args"], "args")


def test_every_command_and_option_it_names_exists():
    commands = {command.name or command.callback.__name__: command for command in verifiers.registered_commands}
    for name in re.findall(r"rl verifiers (\w+)", GUIDE):
        assert name in commands
    known = {"--json", "--cases", "--label", "--cls", "--threshold", "--arg", "--with", "--stage", "--steps"}
    assert set(re.findall(r"--[a-z]+", GUIDE)) <= known
