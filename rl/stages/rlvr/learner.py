"""What stands behind the lines of `rlvr.train`: the roles an algorithm needs, drawing and refilling, measuring,
evaluating, and taking a killed run up again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.algorithms.policy_losses import POLICY_LOSSES
from rl.run.checkpoint import BEST
from rl.run.metrics import is_timing
from rl.run.tracker import recorded
from rl.stages.scoring import Scorer, by_prompt, sample_metrics
from rl.workers.group import Absent
from rollouts.sampler import seed_of

if TYPE_CHECKING:
    from rl.data.mixture import Mixture
    from rl.run.checkpoint import Checkpoints
    from rl.stages.context import Context
    from rl.stages.rlvr.config import Config
    from rl.types import Batch, Prompt, Scored
    from rl.workers.optimizer import OptimizerConfig

REFILLS = 10
"""Dynamic sampling gives up after this many draws of a step and learns from the groups it has."""


class Clock:
    """Seconds of each phase of a step."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """What has passed since the last lap was `phase`."""
        now = time.monotonic()
        self.seconds[phase], self.last = now - self.last, now


class Learner:
    """One rlvr stage at work."""

    def __init__(
        self, config: Config, context: Context, curriculum: Mixture[Prompt], judge: Scorer, checkpoints: Checkpoints
    ) -> None:
        self.config, self.context, self.goal = config, context, config.resolved()
        self.curriculum, self.judge, self.checkpoints = curriculum, judge, checkpoints
        cluster = context.cluster
        self.policy = cluster.policy
        self.critic: Any = cluster.critic if self.goal.critic else Absent()
        self.reference: Any = cluster.reference if self.goal.kl_coef else Absent()
        # After a single update on its own samples the policy is still the one that wrote them: the loss takes its
        # logprobs as the old ones, and the pass over the batch that would compute them is spared.
        # A loss of the user's own may ask for them.
        single = config.optimiser_steps == 1 and not (self.goal.kl_coef and self.goal.kl_in == "reward")
        self.single = single and self.goal.policy_loss in POLICY_LOSSES
        self.best = float("-inf")
        self.best_step: int | None = None
        self.draws: list[list[Scored]] = []
        self.last: dict[str, float] = {}
        """Metrics of the last step, timings apart."""

    def resume(self) -> int:
        """Loads the newest whole checkpoint, or the stage's first model; returns how many steps are behind it."""
        config, context = self.config, self.context
        model = context.cluster.model
        restored = self.checkpoints.latest()
        fresh = {"step": 0, "drawn": {}, "best": float("-inf"), BEST: None, "last": {}}
        folder, state = restored or (None, fresh)
        critic_start = context.artifact("model", config.critic) if config.critic else context.model
        self.policy.load(folder / "policy" if folder else context.model, model, config.optimizer)
        if self.goal.critic:
            self.critic.load(folder / "critic" if folder else critic_start, model, config.critic_optimizer)
        if self.goal.kl_coef:
            self.reference.load(context.model, replace(model, train_encoder=False), config.optimizer)
        if folder:
            self.policy.restore_optimizer(folder / "policy")
            if self.goal.critic:
                self.critic.restore_optimizer(folder / "critic")
        self.policy.temperature = self.reference.temperature = config.temperature
        self.curriculum.state, self.last = state["drawn"], state["last"]
        self.best, self.best_step = state["best"], state[BEST]
        context.tracker.rewind(state["step"])
        context.cluster.sampler.load(self.policy.weights(), version=state["step"])
        return state["step"]

    def sample(self, step: int) -> list[Scored]:
        """The step's scored samples. With dynamic sampling, groups whose scores are all equal teach nothing and are
        drawn anew (DAPO), in rounds, so that what is drawn does not depend on who finishes first."""
        config, scored = self.config, list[Any]()
        self.judge.seconds.clear()
        self.draws = []
        for draw in range(REFILLS):
            have = by_prompt(scored)
            drawn = {p.id: p for p in self.curriculum.draw(config.prompts_per_step - len(have)) if p.id not in have}
            fresh = self.judge.collect(
                self.context.cluster.sampler.generate(
                    [*drawn.values()],
                    samples=config.samples_per_prompt,
                    temperature=config.temperature,
                    max_sequence_tokens=config.max_sequence_tokens,
                    seed=seed_of(self.context.seed, step, draw),
                )
            )
            self.draws.append(fresh)
            scored += self._informative(fresh) if self.goal.filter_zero_variance else fresh
            if len(by_prompt(scored)) == config.prompts_per_step:
                break
        if not any(s.verdict.error is None for s in scored):
            raise ValueError(
                f"rlvr '{self.context.name}', step {step}: no sample to learn from after {REFILLS} draws; every group has "
                "equal scores or erred; curate the prompts or train the model first"
            )
        return scored

    @property
    def generated(self) -> list[Scored]:
        """The samples of all draws of the step, those of dropped groups too."""
        return [s for draw in self.draws for s in draw]

    def before(self, step: int) -> Any:
        """Who tells the logprobs before the step's update: the policy, or nobody where its own single update does."""
        return Absent() if self.single and step > self.config.critic_warmup_steps else self.policy

    def actor(self, step: int) -> Any:
        """The policy, or nobody while it rests and the critic warms up."""
        return self.policy if step > self.config.critic_warmup_steps else Absent()

    def policy_rates(self, step: int) -> list[float]:
        """Learning rate of each of the policy's updates in this step, by a schedule that begins with its first; none
        while it rests."""
        rests = self.config.critic_warmup_steps
        return self._rates(self.config.optimizer, step - rests, self.config.steps - rests) if step > rests else []

    def critic_rates(self, step: int) -> list[float]:
        """Learning rate of each of the critic's updates in this step."""
        return self._rates(self.config.critic_optimizer, step, self.config.steps)

    def _rates(self, optimizer: OptimizerConfig, step: int, steps: int) -> list[float]:
        per_step = self.config.optimiser_steps
        return [optimizer.rate((step - 1) * per_step + i, steps * per_step) for i in range(per_step)]

    def measure(
        self,
        step: int,
        scored: list[Scored],
        batch: Batch,
        learned: Mapping[str, float],
        fitted: Mapping[str, float],
        clock: Clock,
    ) -> dict[str, float]:
        """The step's line of metrics. Raises ValueError when engine and trainer have come apart."""
        from rl.algorithms.kl import kl
        from rl.algorithms.value_losses import explained_variance

        if batch._old_A is not None:
            gap = float((batch.old_A - batch.rollout_logprobs_A).abs().mean())
        else:
            assert "logprob_gap" in learned, "neither a pass before the update nor the update itself told the logprobs"
            gap = learned["logprob_gap"]
        metrics = sample_metrics(*self.draws) | {"logprob_gap/mean": gap}
        if rates := self.policy_rates(step):
            metrics["learning_rate"] = rates[-1]
        if self.goal.filter_zero_variance:
            metrics["dropped_groups"] = float(sum(len(by_prompt(draw)) for draw in self.draws) - len(by_prompt(scored)))
        metrics["staleness"] = float((step - 1 - batch.versions_N).float().mean())
        names = {"loss": "loss/policy", "grad_norm": "grad_norm/policy", "clipped": "clip_fraction", "kl": "kl/ref"}
        metrics |= {
            names.get(name, name): value for name, value in learned.items() if name not in ("logprob_gap", "ratio")
        }
        if batch._ref_A is not None and self.goal.kl_in == "reward":
            metrics["kl/ref"] = float(kl(batch.old_A, batch.ref_A, self.goal.kl_estimator).mean())
        if fitted:
            metrics |= {"loss/value": fitted["loss"], "grad_norm/critic": fitted["grad_norm"]}
            metrics["value_clip_fraction"] = fitted["clipped"]
            metrics["explained_variance"] = explained_variance(batch.values_A, batch.returns_A)
        if not gap <= self.config.max_logprob_gap:  # nor is NaN
            self.context.tracker.record(step, metrics)
            raise ValueError(
                f"rlvr '{self.context.name}', step {step}: engine and trainer logprobs differ by {gap:.3g} in the mean, "
                f"more than max_logprob_gap ({self.config.max_logprob_gap}); check dtype, temperature and vllm options"
            )
        return metrics | self._timings(scored, clock)

    def evaluate(self, step: int) -> dict[str, float]:
        """`eval/…` metrics on the steps that are due."""
        from rl.stages.evaluate import measure

        config = self.config
        if not config.eval_every or config.eval is None or step % config.eval_every:
            return {}
        prompts = self.context.prompts(config.eval.data, config.eval.split, config.eval.limit)
        sampler = self.context.cluster.sampler
        measured, *_ = measure(config.eval, prompts, sampler, self.judge, self.context.seed)
        return {f"eval/{name}": value for name, value in measured.items()}

    def checkpoint(self, step: int, metrics: Mapping[str, float]) -> None:
        """Saves when due, at the end, and whenever the evaluation is the best so far."""
        self.last = {name: value for name, value in metrics.items() if not is_timing(name)}
        score = metrics.get("eval/accuracy", float("-inf"))
        if better := score > self.best:
            self.best, self.best_step = score, step
        if not (better or step == self.config.steps or step % self.config.checkpoint_every == 0):
            return

        def write(folder: Path) -> None:
            self.policy.save(folder / "policy")
            self.critic.save(folder / "critic")

        state = {"drawn": self.curriculum.state, "best": self.best, BEST: self.best_step, "last": self.last}
        self.checkpoints.save(step, state, write, self.counts())

    def counts(self) -> dict[str, int]:
        """What was drawn, sampled and written so far, before a resume and after it. The engines' pace times their
        seconds is what they wrote in a step, and that over its mean length the number of samples."""
        rows = recorded(self.context.tracker.run_dir, self.context.name)
        written = [round(row["tokens_per_second/rollout"] * row["time/generate"]) for row in rows]
        lengths = [row["length/mean"] for row in rows]
        return {
            "prompts": sum(draws for draws, _ in self.curriculum.state.values()),
            "rollouts": sum(round(tokens / mean) for tokens, mean in zip(written, lengths, strict=True) if mean),
            "tokens": sum(written),
            "steps": len(rows),
        }

    def _informative(self, scored: list[Scored]) -> list[Scored]:
        keep = {id for id, group in by_prompt(scored).items() if len({s.verdict.score for s in group}) > 1}
        return [s for s in scored if s.rollout.prompt.id in keep]

    def _timings(self, scored: list[Scored], clock: Clock) -> dict[str, float]:
        phases = {name: seconds for name, seconds in clock.seconds.items() if name != "rollout"} | self.judge.seconds
        total = time.monotonic() - clock.started
        written = sum(int(s.rollout.action_mask.sum()) for s in self.generated)
        return {
            **{f"time/{name}": seconds for name, seconds in phases.items()},
            **{f"judge/{name}": value for name, value in self.judge.rewards.metrics().items()},
            "time/step": total,
            "tokens_per_second/rollout": written / max(self.judge.seconds["generate"], 1e-9),
            "tokens_per_second/step": sum(len(s.rollout.tokens) for s in scored) / total,
        }
