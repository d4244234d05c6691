"""What stands behind the loop of rlvr, without engines: whose turn it is, learning rates, the gap, the best checkpoint."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from models.settings import ModelConfig
from rewards.combine import PartConfig, RewardConfig
from rl.data.collate import collate, minibatches
from rl.run.checkpoint import Checkpoints
from rl.stages.rlvr.config import Config
from rl.stages.rlvr.learner import Learner
from rl.stages.rlvr.recorder import Recorder
from rl.stages.rlvr.stream import SampleStream
from rl.types import Message, Prompt, Rollout, Scored, Verdict
from rl.workers.group import Absent
from rl.workers.optimizer import OptimizerConfig
from rl.workers.packing import plan_steps
from rl.workers.trainer_config import TrainerConfig
from rollouts.proof import Proof


class Role(Absent):
    """A policy or critic as far as it is told what to load and save."""

    def load(self, *_: Any, **__: Any) -> None: ...

    def restore_optimizer(self, folder: Path) -> None: ...

    def weights(self) -> list[Any]:
        return []


def recorder(folder: Path, records: list[dict[str, float]] | None = None, **config: Any) -> Recorder:
    """A stage in `folder` without engines; `records` takes what it would write to metrics.jsonl."""
    cluster = SimpleNamespace(
        policy=Role(),
        critic=Role(),
        model=ModelConfig(path="model"),
        sampler=SimpleNamespace(load=lambda *_, **__: 0, proof=Proof()),
    )
    tracker = SimpleNamespace(
        run_dir=folder, rewind=lambda _: None, record=lambda _, metrics: records is not None and records.append(metrics)
    )
    context: Any = SimpleNamespace(cluster=cluster, tracker=tracker, name="rlvr", model=folder, folder=folder)
    curriculum: Any = SimpleNamespace(state={}, parts={}, rates={})
    scorer: Any = SimpleNamespace(
        seconds={"generate": 1.0},
        rewards=SimpleNamespace(metrics=dict, config=RewardConfig([PartConfig("text")]), folder=None),
    )
    checkpoints = Checkpoints(folder / "checkpoints", keep=1, warn=lambda _: None)
    settings = Config("words", **config)
    stream = SampleStream(settings, context, curriculum, scorer)
    return Recorder(settings, context, Learner(settings, context), stream, checkpoints)


def learner(folder: Path, **config: Any) -> Learner:
    return recorder(folder, **config).learner


# --- critic warm-up ------------------------------------------------------------------------------------------------


def test_the_policys_schedule_begins_with_its_first_update(tmp_path: Path) -> None:
    rising = OptimizerConfig(learning_rate=1.0, warmup_steps=5)
    student = learner(tmp_path, steps=12, critic_warmup_steps=5, optimizer=rising, critic_optimizer=rising)
    assert [student.policy_rates(step) for step in range(1, 6)] == [[]] * 5
    assert [student.policy_rates(step) for step in range(6, 12)] == [[0.2], [0.4], [0.6], [0.8], [1.0], [1.0]]
    assert [student.critic_rates(step, updates=1) for step in range(1, 7)] == [[0.2], [0.4], [0.6], [0.8], [1.0], [1.0]]
    assert student.critic_rates(1, updates=4) == [0.2, 0.4, 0.6, 0.8], "it counts the critic's own updates"


def test_its_decay_spans_its_own_updates(tmp_path: Path) -> None:
    falling = OptimizerConfig(learning_rate=1.0, schedule="linear")
    resting = learner(tmp_path, steps=4, minibatches=2, critic_warmup_steps=2, optimizer=falling)
    assert [resting.policy_rates(step) for step in range(1, 5)] == [[], [], [1.0, 0.75], [0.5, 0.25]]
    never = learner(tmp_path, steps=4, minibatches=2, optimizer=falling)
    assert [never.policy_rates(step) for step in (1, 4)] == [[1.0, 0.875], [0.25, 0.125]]


@pytest.mark.parametrize("prompts", ["aaa", "abc", "aab"])
def test_a_step_of_fewer_samples_than_mini_batches_takes_fewer_updates(tmp_path: Path, prompts: str) -> None:
    """One verdict of four failed, or dynamic sampling found too little: no mini-batch is left for the last rate."""
    falling = OptimizerConfig(learning_rate=1.0, schedule="linear")
    student = learner(
        tmp_path, steps=2, epochs=2, minibatches=4, critic_minibatches=5, optimizer=falling, critic_optimizer=falling
    )
    tokens, action_mask = np.arange(4), np.array([False, True, True, True])
    batch = collate(
        [
            Scored(
                Rollout(
                    Prompt(id, (Message("user", "?"),)), i, tokens, action_mask, np.zeros(3, np.float32), "stop", 0, ""
                ),
                Verdict(1.0),
            )
            for i, id in enumerate(prompts)
        ]
    )
    rows = minibatches(batch.groups_N, 2, 4, seed=0)
    (plan,) = plan_steps(batch, rows, student.policy_rates(1), TrainerConfig(), 1)
    assert [step.learning_rate for step in plan] == [1.0, 0.9375, 0.875, 0.75, 0.6875, 0.625]
    assert sorted(row for step in plan[:3] for row in step.rows) == [0, 1, 2]
    critic_rows = minibatches(batch.groups_N, 2, 5, seed=0)
    (plan,) = plan_steps(batch, critic_rows, student.critic_rates(1, len(critic_rows)), TrainerConfig(), 1)
    assert [step.learning_rate for step in plan] == pytest.approx([1.0, 0.95, 0.9, 0.75, 0.7, 0.65])


def test_somebody_tells_the_logprobs_in_every_step(tmp_path: Path) -> None:
    student = learner(tmp_path, critic_warmup_steps=2)
    absent = [
        (isinstance(student.old_logprob_source(s), Absent), isinstance(student.trained_policy(s), Absent))
        for s in (1, 2, 3)
    ]
    told = [
        (student.old_logprob_source(s) is student.policy, student.trained_policy(s) is student.policy)
        for s in (1, 2, 3)
    ]
    assert absent == [(True, True)] * 3  # a Role is one too
    assert told == [(True, False), (True, False), (False, True)]
    several = learner(tmp_path, minibatches=2)
    assert (several.old_logprob_source(1), several.trained_policy(1)) == (several.policy, several.policy)


ON_POLICY = {"logprob_gap": 0.125, "logprob_gap/max": 3.0, "logprob_gap/far": 0.01}


def measure(made: Recorder, step: int, old: float | None, policy_metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of a step with one sample of two actions, to which the engine gave a logprob of 0 each."""
    tokens, action_mask = np.zeros(3, np.int64), np.array([False, True, True])
    prompt = Prompt("x", (Message("user", "?"),))
    rollout = Rollout(prompt, 0, tokens, action_mask, np.zeros(2, np.float32), "stop", 0, "text")
    made.stream.draws = [[Scored(rollout, Verdict(1.0))]]
    batch = collate(made.stream.draws[0])
    batch = batch if old is None else batch.add(old=torch.full((2,), old))
    metrics = made.measure(step, batch, policy_metrics, {})
    made.check_gaps(step, metrics)
    return metrics


def test_the_gap_is_measured_while_the_policy_rests(tmp_path: Path) -> None:
    said: list[dict[str, float]] = []
    made = recorder(tmp_path, said, algorithm="ppo", critic_warmup_steps=2, max_logprob_gap=0.5)
    resting = measure(made, 1, 0.25, {})
    assert resting["logprob_gap/mean"] == 0.25
    assert "learning_rate" not in resting
    learning = measure(made, 3, None, ON_POLICY | {"on_policy": 0.5})
    assert (learning["logprob_gap/mean"], learning["learning_rate"]) == (0.25, 1e-6), "of the half that it wrote itself"
    assert (learning["logprob_gap/max"], learning["logprob_gap/far"]) == (3.0, 0.02)
    assert "logprob_gap/mean" not in measure(made, 3, None, ON_POLICY | {"on_policy": 0.0})
    with pytest.raises(
        ValueError,
        match=r"^rlvr 'rlvr', step 2: engine and trainer logprobs of the step's samples differ by 0\.75 in the mean",
    ):
        measure(made, 2, 0.75, {})
    assert said[-1]["logprob_gap/mean"] == 0.75
    batch = collate(made.stream.draws[0])
    made.check_samples(2, batch)  # nothing to look at: the update measures
    made.check_samples(2, batch.add(old=torch.full((2,), 0.25)))
    with pytest.raises(ValueError, match=r"^rlvr 'rlvr', step 2: .* differ by 2 in the mean"):
        made.check_samples(2, batch.add(old=torch.full((2,), 2.0)))
    assert (said[-1]["logprob_gap/max"], said[-1]["logprob_gap/far"]) == (2.0, 1.0)
    with pytest.raises(AssertionError, match="gave the logprobs"):
        measure(made, 1, None, {})


# --- the best checkpoint -------------------------------------------------------------------------------------------

SCORES = (0.5, 0.9, 0.2, 0.4)
MOMENTS = ("os.rename", "shutil.rmtree")


def go_on(folder: Path) -> Recorder:
    made = recorder(folder, algorithm="grpo", steps=len(SCORES), checkpoint_every=1)
    for step in range(made.resume() + 1, len(SCORES) + 1):
        made.checkpoint(step, {"eval/accuracy": SCORES[step - 1]})
    return made


def killed(folder: Path, moment: int) -> bool:
    """Goes on in a process that is killed before it renames or removes anything for the `moment`-th time, if it comes so
    far; True: it did."""
    child = os.fork()
    if not child:
        count = itertools.count(1)

        def watch(event: str, _: Any) -> None:
            if event in MOMENTS and next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            go_on(folder)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_the_best_checkpoint_outlives_a_kill_at_any_moment(tmp_path: Path) -> None:
    moment = 1
    while killed(tmp_path / str(moment), moment):
        made = go_on(tmp_path / str(moment))
        kept = {p.name for p in made.checkpoints.folder.glob("step-*")}
        assert kept >= {"step-000002", "step-000004"}, f"killed at moment {moment}"
        assert (made.best_score, made.best_step) == (0.9, 2)
        # Also where the kill came between the last checkpoint and the stage's end.
        assert made.last == go_on(tmp_path / str(moment)).last == {"eval/accuracy": SCORES[-1]}
        moment += 1
    assert moment > 2 * len(SCORES), "every save was interrupted"
