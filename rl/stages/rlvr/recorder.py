"""Records of one rlvr stage: the metrics of each step, evaluations on the way, checkpoints, and where a killed run goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rl.finite import drop_undefined
from rl.run.checkpoint import BEST
from rl.run.cuts import CutLog
from rl.run.metrics import is_timing
from rl.run.tracker import read_stage_metrics
from rl.stages.rlvr.gaps import Gaps, choose_bounds
from rl.stages.rlvr.stalls import DIVERGED, Stalls
from rl.stages.rlvr.watch import Watch, mark_shapes
from rl.stages.scoring import sample_metrics, source_metrics
from rl.think import THINK_CLOSE

if TYPE_CHECKING:
    from rl.run.checkpoint import Checkpoints, State
    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.stages.rlvr.learner import Learner
    from rl.stages.rlvr.stream import SampleStream
    from rl.types import Batch, Scored

METRIC_NAMES = {"loss": "loss/policy", "grad_norm": "grad_norm/policy", "clipped": "clip_fraction", "kl": "kl/ref"}
"""Metrics of the policy's update that are recorded under another name, beside those of the critic."""


class Clock:
    """Seconds of each phase of a step."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Count the time since the last lap as `phase`."""
        now = time.monotonic()
        self.seconds[phase], self.last = now - self.last, now


class Recorder:
    """Writes what a stage leaves beside its model, and reads back where a killed run goes on."""

    def __init__(
        self, config: Config, context: Context, learner: Learner, stream: SampleStream, checkpoints: Checkpoints
    ) -> None:
        self.config, self.context, self.objective = config, context, config.build_objective()
        self.learner, self.stream, self.checkpoints = learner, stream, checkpoints
        self.cuts = CutLog(context.folder)
        self.watch = Watch(stream.scorer.rewards.config, stream.scorer.rewards.folder)
        self.has_diverged = False
        self.best_score: float | None = None
        self.best_step: int | None = None
        self.last: dict[str, float] = {}
        """Metrics of the last step, without timings."""
        self.stalls = Stalls(context.name, config.samples_per_prompt, config.max_sequence_tokens)
        self.gaps = Gaps(context.name, choose_bounds(context.cluster.model.dtype, config.max_logprob_gap))

    def resume(self) -> int:
        """Load the newest whole checkpoint, or the stage's first models; return how many steps are behind it."""
        context = self.context
        start: State = {"step": 0, "drawn": {}, "best": None, BEST: None, "last": {}, "watch": None}
        folder, state = self.checkpoints.latest() or (None, start)
        if folder is not None and self.config.replay is not None:
            raise ValueError(f"rlvr '{context.name}': a repeated run does not go on from a checkpoint; begin it anew")
        self.learner.load(folder)
        self.last = state["last"]
        self.best_score, self.best_step = state["best"], state[BEST]
        if state["watch"] is not None:
            self.watch.restore(state["watch"])
        context.tracker.rewind(state["step"])  # the steps after the checkpoint will run again
        self.cuts.rewind(state["step"])
        for row in read_stage_metrics(context.tracker.run_dir, context.name):
            self.stalls.observe(row["step"], row)  # what it was warned of before
            self.gaps.observe(row["step"], row)
        # The step is the version's name, so that a resumed run counts staleness as before.
        context.cluster.sampler.load(self.learner.policy.weights(), version=state["step"])
        self.gaps.check(state["step"], context.cluster.sampler.proof.metrics())
        self.stream.restore(state["drawn"], state.get("ahead", []), state.get("groups", 0), state.get("rates", {}))
        return state["step"]

    def record(
        self,
        step: int,
        scored: list[Scored],
        batch: Batch,
        policy_metrics: Mapping[str, float],
        critic_metrics: Mapping[str, float],
        clock: Clock,
    ) -> dict[str, float]:
        """Write the step's metrics and rollouts, and a checkpoint when one is due; return the metrics. Raises ValueError
        as `check_gaps` does."""
        metrics = self.measure(step, batch, policy_metrics, critic_metrics)
        self.check_gaps(step, metrics)
        self.warn(step, metrics)
        # Before the evaluation, which adds to the scorer's seconds; so a step's time leaves evaluation and checkpoint out.
        metrics |= self.timings(scored, clock)
        metrics |= self.evaluate(step)
        metrics |= self.watch_reward(step)
        self.context.tracker.record(step, metrics)
        if self.config.max_lag:  # in sync one version writes all, and there is nothing to repeat
            self.cuts.append(step, self.stream.written_by)
        self.checkpoint(step, metrics)
        return metrics

    def measure(
        self,
        step: int,
        batch: Batch,
        policy_metrics: Mapping[str, float],
        critic_metrics: Mapping[str, float],
    ) -> dict[str, float]:
        """Return the metrics of samples, policy and critic."""
        from rl.algorithms.kl import kl
        from rl.algorithms.value_losses import explained_variance

        metrics = sample_metrics(*self.stream.draws) | logprob_gaps(batch, policy_metrics)
        metrics |= source_metrics([sample for draw in self.stream.draws for sample in draw])
        metrics |= self.context.cluster.sampler.proof.metrics()
        if self.context.cluster.model.think is True:
            metrics["closed_chains"] = closed_share(self.stream.all_samples)
        if rates := self.learner.policy_rates(step):
            metrics["learning_rate"] = rates[-1]  # of the step's last update
        if self.objective.filter_zero_variance:
            metrics["dropped_groups"] = float(self.stream.dropped_groups)
            metrics["group_share"] = self.stream.group_share
        if self.objective.mask_truncated:
            metrics |= truncated_share(batch)
        # Always 0 without a `max_lag`, and never above it: recorded as a check.
        staleness_A = (batch.version - batch.versions_A).float()
        metrics |= {"staleness": float(staleness_A.mean()), "staleness/max": float(staleness_A.max())}
        metrics["spans"] = mean_spans(self.stream.all_samples)
        for name, value in policy_metrics.items():
            # Gaps are recorded above; the mean ratio is 1.
            if name not in ("ratio", "on_policy") and not name.startswith("logprob_gap"):
                metrics[METRIC_NAMES.get(name, name)] = value
        if batch.has("ref") and self.objective.kl_in == "reward":  # in the loss, the update itself reports it
            metrics["kl/ref"] = float(kl(batch.old_A, batch.ref_A, self.objective.kl_estimator).mean())
        if batch.has("teacher"):  # of policy || teacher, at the tokens that the policy wrote
            metrics["kl/teacher"] = float((batch.old_A - batch.teacher_A).mean())
        if critic_metrics:
            metrics |= {"loss/value": critic_metrics["loss"], "grad_norm/critic": critic_metrics["grad_norm"]}
            metrics["value_clip_fraction"] = critic_metrics["clipped"]
            metrics["explained_variance"] = explained_variance(batch.values_A, batch.returns_A)
        return metrics

    def check_samples(self, step: int, batch: Batch) -> None:
        """Raise ValueError as `check_gaps` does for the step's samples, where the batch tells: before the update."""
        if batch.has("old"):
            self.check_gaps(step, sample_metrics(*self.stream.draws) | logprob_gaps(batch, {}))

    def check_gaps(self, step: int, metrics: Mapping[str, float]) -> None:
        """Raise ValueError when the logprobs of engines and trainer differ by more than `max_logprob_gap`. What samples show was
        looked at before the update, which then was not taken; a resumed run repeats the step."""
        try:
            self.gaps.check(step, metrics)
        except ValueError:
            self.context.tracker.record(step, metrics)
            raise

    def warn(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say once in a stage when a step has nothing to learn from, when engines and trainer drift apart, and when a repeated
        run becomes another one, for the terminal and the report."""
        texts = [*self.stalls.observe(step, metrics), *self.gaps.observe(step, metrics)]
        if not self.has_diverged and (group := self.stream.diverged_group) is not None:
            self.has_diverged = True
            texts.append(DIVERGED.format(name=self.context.name, step=step, group=group))
        for text in texts:
            self.context.tracker.record_warning(step, text)
            self.context.say(f"warning: {text}")

    def timings(self, scored: list[Scored], clock: Clock) -> dict[str, float]:
        """Return seconds of the step's phases, tokens per second (of `rollout`: actions of all samples; of `step`: all tokens
        that were trained on), and the metrics of verifiers that ask a model, which are totals since their service started."""
        scorer = self.stream.scorer
        # `rollout` is replaced by its two parts: `generate` while samples were written, `verify` waiting for verdicts.
        phases = {name: seconds for name, seconds in clock.seconds.items() if name != "rollout"} | scorer.seconds
        # Of the time that `sync` takes, what went to the proof that the weights have arrived.
        phases["proof"] = self.context.cluster.sampler.proof.seconds
        phases["sync"] = max(phases["sync"] - phases["proof"], 0.0)
        total = time.monotonic() - clock.start
        actions = sum(int(s.rollout.action_mask.sum()) for s in self.stream.all_samples)
        times = {**{f"time/{name}": seconds for name, seconds in phases.items()}, "time/step": total}
        return {
            **times,
            **{f"judge/{name}": value for name, value in scorer.rewards.metrics().items()},
            "tokens_per_second/rollout": actions / max(times[self.time_of_rollouts], 1e-9),
            "tokens_per_second/step": sum(len(s.rollout.tokens) for s in scored) / total,
        }

    @property
    def time_of_rollouts(self) -> str:
        """Metric of the seconds in which a step's samples were written: of all that the step takes, where they are while the
        policy learns."""
        return "time/step" if self.config.max_lag else "time/generate"

    def watch_reward(self, step: int) -> dict[str, float]:
        """Write the step's rollouts, and a warning the first time the reward rises without its second opinions; return the
        metrics of these."""
        context = self.context
        # Dropped groups too: where all answers to a prompt are hacked, its group has no variance.
        draws = [mark_shapes(draw) for draw in self.stream.draws]
        metrics, divergences = self.watch.observe(draws)
        context.tracker.record_rollouts(step, [sample for draw in draws for sample in draw])
        if divergences:
            text = self.watch.describe(divergences, draws, step, context.name, context.tracker.run_dir)
            context.tracker.record_warning(step, text)
            context.say(f"warning: {text}")
        return metrics

    def evaluate(self, step: int) -> dict[str, float]:
        """Return `eval/…` metrics on the steps that are due."""
        from rl.stages import evaluate

        config = self.config
        if not config.eval_every or config.eval is None or step % config.eval_every:
            return {}
        prompts = self.context.prompts(config.eval.data, config.eval.split, config.eval.limit)
        sampler = self.context.cluster.sampler
        # Before all that is drawn ahead and not begun; what the engines are writing goes on beside it.
        metrics, *_ = evaluate.measure(config.eval, prompts, sampler, self.stream.scorer, self.context.seed)
        return {f"eval/{name}": value for name, value in metrics.items()}

    def checkpoint(self, step: int, metrics: Mapping[str, float]) -> None:
        """Save when due, at the end, and whenever the evaluation is the best so far."""
        self.last = drop_undefined({name: value for name, value in metrics.items() if not is_timing(name)})
        score = self.last.get("eval/accuracy")
        is_best = score is not None and (self.best_score is None or score > self.best_score)
        if is_best:
            self.best_score, self.best_step = score, step
        # After the metrics are written: a run that is killed in between repeats the step, and rewinds them.
        if is_best or step == self.config.steps or step % self.config.checkpoint_every == 0:
            position = self.stream.curriculum.state
            best = {"best": self.best_score, BEST: self.best_step}
            # What is drawn ahead by number, prompt and seed, not as it is written so far: it is answered anew.
            state = {"drawn": position, "ahead": self.stream.ahead, "groups": self.stream.drawn, **best}
            state |= {"last": self.last, "watch": self.watch.state, "rates": self.stream.curriculum.rates}
            self.checkpoints.save(step, state, self.learner.save, self.counts())

    def counts(self) -> dict[str, int]:
        """Return what was drawn, sampled and written so far, before a resume and after it."""
        rows = read_stage_metrics(self.context.tracker.run_dir, self.context.name)
        # tokens = rate × seconds, samples = tokens / mean length: exact once rounded, for these are how the rates were made.
        tokens = [round(row["tokens_per_second/rollout"] * row[self.time_of_rollouts]) for row in rows]
        lengths = [row["length/mean"] for row in rows]
        return {
            "prompts": sum(draws for draws, _ in self.stream.curriculum.state.values()),
            "rollouts": sum(round(count / mean) for count, mean in zip(tokens, lengths, strict=True) if mean),
            "tokens": sum(tokens),
            "steps": len(rows),
        }


def closed_share(samples: Sequence[Scored]) -> float:
    """Return the share of the samples whose chain of thought is closed, and an answer may follow."""
    return sum(THINK_CLOSE in sample.rollout.text for sample in samples) / max(len(samples), 1)


def mean_spans(samples: Sequence[Scored]) -> float:
    """Return how many versions wrote a sample, on average."""
    return sum(max(len(sample.rollout.spans), 1) for sample in samples) / max(len(samples), 1)


def truncated_share(batch: Batch) -> dict[str, float]:
    """Return the share of the actions and of the sequences that `mask_truncated` leaves out of the losses."""
    if not batch.has("scale"):
        return {"truncated_masked": 0.0, "truncated_masked/sequences": 0.0}
    masked_A = (batch.scale_A == 0).double()
    last_N = batch.actions_N.cumsum(0) - 1  # one action of each sequence: all of its actions have the same factor
    return {
        "truncated_masked": float(masked_A.mean()),
        "truncated_masked/sequences": float(masked_A[last_N].mean()),
    }


def logprob_gaps(batch: Batch, policy_metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the mean and the largest difference between the logprobs of trainer and engine, and the share of tokens on which
    they are far apart: of the tokens that the policy wrote as it is, for of the others lag is a part of it."""
    from rl.workers.policy import FAR

    if batch.has("old"):
        gap_A = (batch.old_A - batch.rollout_logprobs_A).abs()[batch.versions_A == batch.version]
        if not len(gap_A):  # all was written by versions before: nothing to compare
            return {}
        mean, largest, far = gap_A.mean(), gap_A.max(), (gap_A > FAR).float().mean()
    else:
        # Without a pass before the update the update itself measured it, in its first and only forward pass.
        assert "logprob_gap" in policy_metrics, (
            "neither a pass before the update nor the update itself gave the logprobs"
        )
        share = policy_metrics["on_policy"]
        if not share:
            return {}
        mean, largest = policy_metrics["logprob_gap"] / share, policy_metrics["logprob_gap/max"]
        far = policy_metrics["logprob_gap/far"] / share
    return {"logprob_gap/mean": float(mean), "logprob_gap/max": float(largest), "logprob_gap/far": float(far)}
