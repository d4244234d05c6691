"""PPO in one file: its numbers are the library's, and what it trains learns."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from models.heads import LogprobModel, ValueModel
from models.load import load_tokenizer
from rl.algorithms.advantages import estimate
from rl.data.chat import Chat
from rl.data.collate import collate

FILE = Path(__file__).parents[2] / "recipes" / "plain_ppo.py"


@pytest.fixture(scope="module")
def plain_ppo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("plain_ppo", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["plain_ppo"] = importlib.util.module_from_spec(spec)  # before it runs: dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_a_step_is_the_library_s(plain_ppo: ModuleType, tmp_path: Path) -> None:
    """Samples carry the logprobs that the trainer computes; the estimates are those of `rl run` with the defaults."""
    torch.manual_seed(0)
    path = plain_ppo.build(plain_ppo.MODEL, tmp_path / "model", 0)
    policy, critic = LogprobModel(path, "float32"), ValueModel(path, "float32")
    torch.nn.init.normal_(critic.head.weight)  # a critic at zero would show nothing
    engine = plain_ppo.AutoModelForCausalLM.from_pretrained(path).eval()
    prompts = list(plain_ppo.procedural("train", "spell_backward", size=20))[:3]
    rollouts = plain_ppo.sample(engine, Chat(load_tokenizer(path), think=False), prompts, 4, version=7)
    assert [(r.prompt.id, r.sample, r.version) for r in rollouts[3:5]] == [(prompts[0].id, 3, 7), (prompts[1].id, 0, 7)]
    for rollout in rollouts:
        assert len(rollout.tokens) <= plain_ppo.MAX_TOKENS
        assert (rollout.tokens[-1] == policy.lm.config.eos_token_id) == (rollout.finish_reason == "stop")
    scored = plain_ppo.score(rollouts)
    plain = plain_ppo.estimate(collate(scored), policy, critic)
    assert torch.allclose(plain.old_A, plain.rollout_logprobs_A, atol=1e-5)
    library = estimate(collate(scored).add(old=plain.old_A, values=plain.values_A), plain_ppo.OBJECTIVE)
    assert torch.equal(plain.advantages_A, library.advantages_A)
    assert torch.equal(plain.returns_A, library.returns_A)


def test_it_learns(plain_ppo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rewards = plain_ppo.main(steps=12, seed=0)
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.05
    lines = capsys.readouterr().out.splitlines()
    before, after = (float(line.split(": ")[1].split()[0]) for line in lines if line.startswith("held-out accuracy"))
    assert after > before + 0.05


@pytest.mark.parametrize(
    ("argument", "code", "says"), [("--help", 0, "usage: plain_ppo.py"), ("many", 2, "invalid int value: 'many'")]
)
def test_its_arguments_are_explained(argument: str, code: int, says: str) -> None:
    done = subprocess.run([sys.executable, str(FILE), argument], capture_output=True, text=True)
    assert (done.returncode, says in done.stdout + done.stderr, "Traceback" in done.stderr) == (code, True, False)
