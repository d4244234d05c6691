"""What becomes of an answer on which a verifier uses up its time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rewards import resolve
from rewards.combine import PartConfig, RewardConfig
from rewards.contract import TimeoutPolicy
from rewards.service import RewardService
from rl.config import ConfigError, build

DEADLINE_S = 0.5
USED_UP = "used its 0.5 s of CPU time"


def reward(policy: TimeoutPolicy | None, verifier: str = "hostile.py:verify") -> RewardConfig:
    return RewardConfig([PartConfig(verifier, on_timeout=policy)], deadline_s=DEADLINE_S)


@pytest.mark.parametrize("policy", ["zero", "error", None])
def test_memory_is_settled_like_time(rollout, folder: Path, policy: TimeoutPolicy | None):
    config = RewardConfig([PartConfig("hostile.py:verify", on_timeout=policy)], memory_mb=128)
    deeds = ["good", "memory", "good", "memory", "good"]
    with RewardService(config, folder) as service:
        verdicts = [scored.verdict for scored in service.score([rollout(deed) for deed in deeds])]
    error = "out of memory (memory_mb: 128)"
    for verdict in verdicts[1::2]:
        assert (verdict.score, verdict.error) == (0.0, None if policy == "zero" else f"accuracy: {error}")
        if policy == "zero":
            assert verdict.reason == f"accuracy: too large to judge: {error} (on_timeout: zero)"
            assert verdict.parts == {"accuracy": 0.0, "accuracy/over_deadline": 1.0}
    assert [verdict.score for verdict in verdicts[::2]] == [0.5] * 3
    assert (service.errors, service.over_deadline) == ((0, 2) if policy == "zero" else (2, 0))


LEAKING = """
from rl.types import Verdict
kept = []
def verify(prompt, rollout):
    kept.append(bytearray(int(rollout.text) << 20))
    return Verdict(1.0)
"""


def test_an_answer_is_not_to_blame_for_the_memory_of_those_before(rollout, tmp_path: Path):
    (tmp_path / "leaking.py").write_text(LEAKING)
    config = RewardConfig([PartConfig("leaking.py:verify", on_timeout="zero")], workers=2, memory_mb=128)
    with RewardService(config, tmp_path) as service:
        scores = [scored.verdict.score for scored in service.score([rollout(text) for text in ["40"] * 20 + ["200"]])]
    assert scores == [1.0] * 20 + [0.0]


def test_a_verifier_that_works_too_long_scores_zero_and_every_other_failure_stays_an_error(rollout, folder: Path):
    deeds = ["loop", "good", "delegate", "sleep 60", "os._exit", "raise it", "good"]
    with RewardService(reward("zero"), folder) as service:
        verdicts = [scored.verdict for scored in service.score([rollout(deed) for deed in deeds])]
    assert [v.error for v in verdicts] == [
        None,
        None,
        None,
        "accuracy: gave no answer within 3 s",
        "accuracy: the verifier ended its process (exit status 4)",
        "accuracy: RuntimeError: it",
        None,
    ]
    assert [v.score for v in verdicts] == [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5]
    assert verdicts[0].reason == f"accuracy: too slow to judge: {USED_UP} (on_timeout: zero)"
    assert verdicts[0].parts == verdicts[2].parts == {"accuracy": 0.0, "accuracy/over_deadline": 1.0}
    assert (service.scored, service.errors, service.over_deadline, service.timeouts) == (7, 3, 2, 3)


@pytest.mark.parametrize("policy", ["error", None])
def test_with_error_it_is_kept_out(rollout, folder: Path, policy: TimeoutPolicy | None):
    with RewardService(reward(policy), folder) as service:
        (scored,) = service.score([rollout("loop")])
    assert scored.verdict.error == f"accuracy: {USED_UP}"
    assert (service.errors, service.over_deadline) == (1, 0)


def test_it_counts_like_any_other_zero(rollout, folder: Path):
    """The other parts keep their scores, and a gate behind it closes."""
    parts = [
        PartConfig("hostile.py:verify", weight=0.5, on_timeout="zero"),
        PartConfig("format", "format", 0.25),
        PartConfig("text", "gated", 0.25, only_if="accuracy", args={"normalise": False}),
    ]
    with RewardService(RewardConfig(parts, deadline_s=DEADLINE_S, max_error_share=0.0), folder) as service:
        scored = service.score([rollout("loop", "loop")] * 8)
        service.check_errors()
    for verdict in (s.verdict for s in scored):
        assert (verdict.score, verdict.error) == (0.0, None)
        assert verdict.parts == {
            "accuracy": 0.0,
            "accuracy/over_deadline": 1.0,
            "format": 0.0,
            "gated": 1.0,
            "gated/counted": 0.0,
        }


OWN = """
import time
from rewards.verifiers import Case
from rl.types import Verdict
ON_TIMEOUT = "zero"
GOLD = [Case("yes", "yes"), Case("loop", "yes", equal=False)]
def verify(prompt, rollout):
    while rollout.text == "loop":
        pass
    return Verdict(float(rollout.text == "yes"))
"""


def test_a_module_may_declare_its_own_policy(rollout, tmp_path: Path):
    (tmp_path / "own.py").write_text(OWN)
    for policy, error in ((None, None), ("zero", None), ("error", f"accuracy: {USED_UP}")):
        with RewardService(reward(policy, "own.py:verify"), tmp_path) as service:
            (scored,) = service.score([rollout("loop")])
            assert (scored.verdict.score, scored.verdict.error) == (0.0, error)


def test_a_gold_case_that_takes_too_long_stops_the_run_all_the_same(tmp_path: Path):
    """Even where 0 would be right."""
    (tmp_path / "own.py").write_text(OWN)
    with (
        RewardService(reward("zero", "own.py:verify"), tmp_path) as service,
        pytest.raises(ValueError, match=rf"'own.py:verify' fails its GOLD\[1\]: .*; {USED_UP}"),
    ):
        service.check_verifiers()


def test_a_model_that_does_not_answer_is_an_error(rollout):
    def slow(rollouts):
        time.sleep(0.6)
        return [0.0] * len(rollouts)

    config = RewardConfig([PartConfig("reward_model", on_timeout="error", args={"deadline_s": 0.1})])
    with RewardService(config, models={"reward": slow}) as service:
        (scored,) = service.score([rollout("yes")])
    assert scored.verdict.error == "accuracy: TimeoutError: the served model did not answer within 0.1 s"
    assert (service.errors, service.over_deadline) == (1, 0)
    with pytest.raises(
        ConfigError, match=r"parts\[0\].on_timeout: 'reward_model' waits for a model, which is no fault"
    ):
        RewardService(RewardConfig([PartConfig("reward_model", on_timeout="zero")]), models={"reward": slow})


def test_defaults():
    zero = {name for name in resolve.list_verifiers() if resolve.settle_timeout(name, None, "p") == "zero"}
    assert resolve.list_verifiers().keys() - zero == {"benchmark_judge", "grounding", "judge", "reward_model"}
    assert resolve.settle_timeout("grounding", "zero", "p") == "zero"
    assert resolve.settle_timeout("math", "error", "p") == "error"
    assert resolve.settle_timeout("repetition", None, "p", is_penalty=True) == "error"


@pytest.mark.parametrize("value", ["None", "'skip'", "zero", "['zero']"])
def test_a_policy_that_means_nothing_is_refused(tmp_path: Path, value: str):
    (tmp_path / "own.py").write_text(f"zero = 'zero'\nON_TIMEOUT = {value}\ndef verify(prompt, rollout): ...\n")
    with pytest.raises(ConfigError, match=r'p: .*own.py: ON_TIMEOUT must be "zero" or "error"'):
        resolve.settle_timeout("own.py:verify", None, "p", tmp_path)


def test_a_penalty_is_not_spared():
    part = {"verifier": "repetition", "weight": -1.0, "on_timeout": "zero"}
    with pytest.raises(ConfigError, match=r"on_timeout: zero would spare slow answers the negative weight"):
        build(RewardConfig, {"parts": [part]}, "reward")
    with pytest.raises(ConfigError, match=r"on_timeout: .*'retry' is not allowed"):
        build(RewardConfig, {"parts": [{"verifier": "text", "on_timeout": "retry"}]}, "reward")
