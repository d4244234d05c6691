"""What CONTRIBUTING.md shows works as it is written there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rewards.resolve import load as load_verifier
from rl.algorithms.advantages import estimate
from rl.algorithms.policy_losses import policy_objective
from rl.algorithms.presets import check_imports, objective
from rl.config import build
from rl.data.sources import DataConfig, load
from rl.recipe import load as load_recipe
from rl.types import Batch, Prompt, Rollout
from rl.workbench.cases import from_gold
from rl.workbench.trial import Workbench

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with every file of the guide, on the path."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def batch(scores: list[float], groups: list[int], actions: list[int]) -> Batch:
    """One prompt token and then the actions, for each sequence."""
    mask_T = torch.cat([torch.arange(count + 1) > 0 for count in actions])
    return Batch(
        tokens_T=torch.zeros(len(mask_T), dtype=torch.long),
        lengths_N=torch.tensor(actions) + 1,
        action_mask_T=mask_T,
        rollout_logprobs_A=torch.zeros(sum(actions)),
        scores_N=torch.tensor(scores),
        groups_N=torch.tensor(groups),
    )


def recipe(text: str) -> Path:
    Path("mine.yaml").write_text(f"extends: spell_backward\nname: mine\n{text}")
    return Path("mine.yaml")


def test_the_advantage() -> None:
    stage = load_recipe(recipe("rlvr: {algorithm: grpo, objective: {advantage: 'rank:rank'}}")).stages[-2]
    chosen = stage.config.build_objective()
    check_imports(chosen, "rlvr.objective")
    estimated = estimate(batch([0.2, 0.9, 0.9, 5.0], [0, 0, 0, 1], [1, 2, 1, 3]), chosen)
    assert estimated.advantages_A.tolist() == [-1.0, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0]


def test_the_loss_is_least_at_the_bound() -> None:
    chosen = objective("ppo", {"policy_loss": "spo:spo"}, "rlvr.objective")
    check_imports(chosen, "rlvr.objective")
    columns = {"old": torch.zeros(2), "advantages": torch.tensor([2.0, -1.0])}
    bounds_A = torch.tensor([1 + chosen.clip_high, 1 - chosen.clip_high])  # where the paper's objective has its maximum
    logprobs_A = bounds_A.log().requires_grad_()
    terms_A, diagnostics = policy_objective(logprobs_A, None, batch([1, 0], [0, 0], [1, 1]).add(**columns), chosen)
    terms_A.sum().backward()
    assert torch.allclose(terms_A.detach(), torch.tensor([-2.4 + 0.2, 0.8 + 0.1]))
    assert torch.allclose(logprobs_A.grad, torch.zeros(2), atol=1e-6)
    assert torch.allclose(diagnostics["ratio"], bounds_A)


def test_the_verifier_judges_its_cases() -> None:
    gold = load_verifier("json_object.py:verify", Path.cwd()).gold
    assert gold is not None
    assert len(gold) == 6
    with Workbench("json_object.py:verify", Path.cwd(), {}, [case.args for case in gold], 10.0, 1) as bench:
        trial = bench.judge_cases(from_gold(gold))
    assert trial.disagreements == []
    reward = load_recipe(recipe("reward: {parts: [{verifier: 'json_object.py:verify'}]}")).header.reward
    assert reward.parts[0].verifier == "json_object.py:verify"


def test_the_task_has_a_warm_start_and_splits_that_never_mix() -> None:
    config = build(DataConfig, {"source": "parity.py:parity", "args": {"size": 400}}, "data.bits")
    splits = {split: load(config, split) for split in ("train", "validation", "test")}
    ids = [prompt.id for prompts in splits.values() for prompt in prompts]
    assert len(ids) == len(set(ids)) == len(load(config, None))
    assert len(splits["train"]) > len(splits["test"]) > 0
    text = load_verifier("text")
    for prompt in splits["test"]:
        assert prompt.demonstration is not None
        assert prompt.answer == ("odd" if int(prompt.id[7:], 2).bit_count() % 2 else "even")
        assert text.verify(prompt, rollout(prompt, prompt.demonstration.response)).score == 1.0


def rollout(prompt: Prompt, response: str) -> Rollout:
    tokens = torch.zeros(2, dtype=torch.long).numpy()
    return Rollout(prompt, 0, tokens, tokens > 0, tokens[:0].astype("float32"), "stop", 0, response)


def test_every_path_it_names_exists() -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", GUIDE)
    assert [link for link in links if not (ROOT / link).exists()] == []
    paths = re.findall(r"(?<=[\s`])(?:tests|scripts)/[\w/.]+", GUIDE)
    assert [path for path in paths if not (ROOT / path).exists()] == []
