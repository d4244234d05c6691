"""Settings of the `rlvr` stage.

Defaults are those of Step-Audio-R1 (arXiv 2511.15848): on-policy PPO with a critic, 16 responses a prompt, 10,240
tokens, clip 0.2, γ = λ = 1, reward at the last token, no KL.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from rewards.combine import RewardConfig
from rl.algorithms import contract
from rl.algorithms.advantages import ADVANTAGES, GROUP_ADVANTAGES
from rl.algorithms.objective import Objective
from rl.algorithms.presets import ALGORITHMS, algorithm_name, check_imports, columns, objective
from rl.algorithms.verl_source import is_verl
from rl.config import ConfigError
from rl.data.mixture import Order, quoted
from rl.data.rows import placeholders
from rl.stages import evaluate
from rl.stages.settings import Read, SamplingConfig, StageConfig, check_temperature
from rl.units import many
from rl.workers.optimizer import OptimizerConfig
from rollouts.environments.config import EnvironmentConfig

OFF_POLICY_CAP = 2.0
"""The `importance_cap` where the policy that learns is not quite the one that wrote, and the recipe names none: of a model in
bfloat16, as in https://fengyao.notion.site/off-policy-rl, and of samples that lag behind."""


@dataclass
class Config(StageConfig):
    """Settings of `rlvr`."""

    difficulty: str | None = None
    """A curate stage or a difficulty file: only the prompts it keeps. `limit` then takes the first so many of these."""
    curriculum: Order = "shuffled"
    """Order of the prompts: `shuffled`, each once an epoch, or `pass_rate`: the likelier, the nearer its recent samples are to
    being right half of the time. One that was never tried counts as such, and none is ever given up."""
    reward: RewardConfig | None = None
    """A reward of the stage's own, such as one that asks a reward model trained before; default: the recipe's."""
    algorithm: str = "ppo"
    """ppo, grpo, rloo, reinforce++, reinforce++-baseline, dr_grpo, dapo, gspo, icepop, cispo, opd."""
    objective: dict[str, object] = field(default_factory=dict[str, object])
    """Overrides of the algorithm's preset (see rl/algorithms/objective.py)."""
    steps: int = 100
    """Steps of the loop: each samples, judges and updates."""
    prompts_per_step: int = 64
    """Prompts that each step draws."""
    samples_per_prompt: int = 16
    """Samples of each prompt, which form a group."""
    max_sequence_tokens: int = 10240
    """Prompt and response together."""
    temperature: float = 1.0
    """Sampling temperature."""
    environment: str | EnvironmentConfig | None = None
    """The environment that answers the policy while it writes: a tool's name, file.py:step, or a mapping; default: the recipe's; `none`: none."""
    max_lag: int = 0
    """Most versions of the policy between the one that began a sample and the one that learns from it. 0: samples are written
    and then learned from. Above: they are written while the policy learns, and none is dropped for its age."""
    replay: str | None = None
    """Directory of a run with a `max_lag` whose course is repeated: each version writes the same tokens of each sample, so that
    on CPU all numbers are the same. `rl run --replay` sets it."""
    epochs: int = 1
    """Passes over each batch of rollouts."""
    minibatches: int = 1
    """Optimiser steps of each pass. Samples of a prompt stay together, so each step has a part of the prompts."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """The optimiser and its learning rate."""
    teacher: str | None = None
    """The model whose logprobs `advantage: reverse_kl` or a `teacher_coef` reads: an earlier stage or a path. Of any size, with
    the policy's tokenizer."""
    teacher_template: str | None = None
    """Text that the teacher reads as the last user turn in place of the policy's prompt: `{question}` without its clips, `{answer}`,
    and every further column of `fields`; `{audio}` keeps the clips there. Default: what the policy reads."""
    critic: str | None = None
    """Start of the critic's trunk: an earlier stage or a path; default: the stage's own start, with a zero head."""
    critic_optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=1e-5))
    """The critic's optimiser and learning rate."""
    critic_minibatches: int = 4
    """Optimiser steps of the critic in each pass; more than the policy's, for its values are to be right from the start."""
    critic_warmup_steps: int = 0
    """Steps in which only the critic learns; the schedule of `optimizer` begins after them."""
    max_logprob_gap: float | None = None
    """Nats; the run stops when the logprobs of engines and trainer differ by more than this on average, on the step's
    samples, or by twice this on the probe of new weights. null: 0.01 in float32, 0.2 in bfloat16. It warns above 0.0001 in
    float32 and above 0.08 in bfloat16, on the probe above twice these."""
    eval_every: int = 0
    """Steps between two evaluations; 0: none."""
    eval: evaluate.Config | None = None
    """Evaluation on the way."""
    checkpoint_every: int = 10
    """Steps between two checkpoints."""
    keep: int = 2
    """Checkpoints that stay, beside the best one by evaluation."""

    cap_by_dtype: ClassVar[float | None] = None
    """The `importance_cap` of a recipe that names none; settled when the model's dtype is known."""

    def validate(self, place: str) -> None:
        self.algorithm = algorithm_name(self.algorithm)  # one spelling from here on: `Dr.GRPO` is `dr_grpo`
        for name in (
            "steps",
            "prompts_per_step",
            "samples_per_prompt",
            "epochs",
            "minibatches",
            "critic_minibatches",
            "checkpoint_every",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{place}.{name}: must be at least 1; got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ConfigError(f"{place}.temperature: must be above 0 to explore; got {self.temperature}")
        check_temperature(self.temperature, place)
        # Mini-batches of unequal size would be steps of unequal weight.
        rollouts = self.prompts_per_step * self.samples_per_prompt
        if rollouts % self.minibatches:
            raise ConfigError(
                f"{place}.minibatches: {self.prompts_per_step} prompts × {self.samples_per_prompt} samples = {rollouts} "
                f"rollouts do not divide into {self.minibatches}; choose a divisor"
            )
        if self.eval_every and self.eval is None:
            raise ConfigError(f"{place}.eval_every: nothing to evaluate on; add `eval: {{data: …, split: …}}`")
        if self.eval is not None and self.eval_every == 0:
            raise ConfigError(f"{place}.eval: never measured; add `eval_every: STEPS`, or remove it")
        for name in ("model", "controls", "orders", "budgets", "pace", "environment"):
            if getattr(self.eval, name, None):
                raise ConfigError(f"{place}.eval.{name}: only an evaluate stage of its own does that; remove it")
        for name in ("max_logprob_gap", "critic_warmup_steps", "eval_every", "max_lag"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{place}.{name}: must not be negative; got {getattr(self, name)}")
        if self.critic_warmup_steps and not self.build_objective(place).critic:
            raise ConfigError(f"{place}.critic_warmup_steps: {self.algorithm} has no critic to warm up; remove it")
        self._check_teacher(place)

    def _check_teacher(self, place: str) -> None:
        """Raise ConfigError where a teacher is missing, nothing reads it, or its template is none."""
        objective = self.build_objective(place)
        is_read = "teacher" in columns(objective)
        if is_read and self.teacher is None:
            raise ConfigError(f"{place}.teacher: nobody to learn from; name an earlier stage or the folder of a model")
        # Somebody else's estimator may read it through code that is not seen.
        is_seen = objective.advantage in ADVANTAGES or is_verl(objective.advantage)
        if self.teacher is not None and not is_read and is_seen:
            raise ConfigError(
                f"{place}.teacher: advantage '{objective.advantage}' does not read it; set algorithm: opd, or add "
                "objective.teacher_coef: 1.0"
            )
        if self.teacher_template is None:
            return
        if self.teacher is None:
            raise ConfigError(f"{place}.teacher_template: no teacher to read it; add `teacher: …`, or remove it")
        if not self.teacher_template.strip():
            raise ConfigError(f"{place}.teacher_template: empty; write what the teacher reads, such as '{{question}}'")
        placeholders(self.teacher_template, f"{place}.teacher_template")

    def build_objective(self, place: str = "") -> Objective:
        """Return the algorithm with this stage's changes. Raises ConfigError."""
        key = "objective" if self.algorithm in ALGORITHMS else "algorithm"
        settings = objective(self.algorithm, self.objective, f"{place}.{key}".lstrip("."))
        # Imitation has no engine; and null is an answer too.
        is_named = "importance" in self.objective or "importance_cap" in self.objective
        if settings.correction is None and not is_named and settings.policy_loss != "nll":
            settings = replace(settings, importance_cap=OFF_POLICY_CAP if self.max_lag else self.cap_by_dtype)
        return settings

    @property
    def optimiser_steps(self) -> int:
        """Optimiser steps on each batch of rollouts."""
        return self.epochs * self.minibatches

    @property
    def spares_old_logprobs(self) -> bool:
        """Return whether no pass over the batch is needed for the logprobs before the update."""
        # With one optimiser step, the policy in that step's forward pass is still the one that wrote the samples: the loss
        # uses its own detached logprobs as the old ones.
        return self.optimiser_steps == 1 and "old" not in columns(self.build_objective())

    # Answers to the questions of StageConfig, which explains them.

    @property
    def roles(self) -> set[str]:
        # A model that no column of the batch needs is not loaded at all.
        roles = {"engine", "policy"}
        if self.build_objective().critic:
            roles.add("critic")
        if "ref" in columns(self.build_objective()):
            roles.add("reference")
        if self.teacher is not None:
            roles.add("teacher")
        return roles

    @property
    def reads(self) -> Sequence[Read]:
        # Which prompts a difficulty keeps is known once its file is there: it may be the last ones of the data.
        limit = None if self.difficulty else self.limit
        reads = [Read(self.data, self.split, limit)]
        if self.eval is not None:
            reads.append(Read(self.eval.data, self.eval.split, self.eval.limit, "eval"))
        return reads

    @property
    def stage_reward(self) -> RewardConfig | None:
        return self.reward

    @property
    def judges_samples(self) -> bool:
        return True

    @property
    def evaluation(self) -> tuple[SamplingConfig, int] | None:
        if self.eval is None or not self.eval_every:
            return None
        return self.eval, self.steps // self.eval_every

    @property
    def training_temperature(self) -> float | None:
        return self.temperature

    def settle_temperature(self, nearby: float) -> None:
        # Measured as it is sampled, whatever the stages beside it do: that is what training moves.
        if self.eval is not None and self.eval.temperature is None:
            self.eval = replace(self.eval, temperature=self.temperature)

    def settle_dtype(self, dtype: str) -> None:
        # Engine and trainer round in different places: in bfloat16 the samples are another policy's than the trainer's by
        # up to a factor of several at single tokens.
        self.cap_by_dtype = OFF_POLICY_CAP if dtype == "bfloat16" else None

    def check_functions(self, place: str) -> None:
        check_imports(self.build_objective(), f"{place}.objective")

    def problems(self, place: str, rows: int | None) -> list[str]:
        objective, lines = self.build_objective(), list[str]()
        if self.replay is not None and not self.max_lag:
            lines.append(f"{place}.replay: without a max_lag a run takes the same course anyway; remove it")
        elif self.replay is not None and not os.path.isdir(Path(self.replay) / "stages"):
            lines.append(f"{place}.replay: {self.replay} is no directory of a run; name one, such as runs/NAME")
        most = min((count for count in (rows, self.limit) if count is not None), default=0)
        if 0 < most < self.prompts_per_step:
            lines.append(
                f"{place}.prompts_per_step: {self.prompts_per_step} prompts asked for, {quoted(self.data)} has {most}; "
                "lower it or raise limit"
            )
        if objective.overlong_buffer > self.max_sequence_tokens:
            lines.append(
                f"{place}.objective.overlong_buffer: {objective.overlong_buffer} tokens do not fit max_sequence_tokens "
                f"({self.max_sequence_tokens}); make it smaller"
            )
        if self.samples_per_prompt == 1 and objective.filter_zero_variance:
            lines.append(
                f"{place}.samples_per_prompt: a group of 1 has no variance and filter_zero_variance drops it; use at "
                "least 2"
            )
        elif self.samples_per_prompt == 1 and objective.advantage in GROUP_ADVANTAGES:
            lines.append(
                f"{place}.samples_per_prompt: with 1 sample '{objective.advantage}' has no group to compare it with and "
                "nothing is learned; use at least 2, or algorithm: ppo or reinforce++"
            )
        try:
            self.check_functions(place)
            contract.check(objective, f"{place}.objective")
        except ConfigError as error:
            lines.append(str(error))
        return lines

    def notes(self, place: str, rows: int | None) -> list[str]:
        lines: list[str] = []
        # Without any the functions need not be tried again, nor can they be where `problems` has found them missing.
        accepted = contract.broken_clauses(self.build_objective(), accepted=True) if "accept" in self.objective else []
        for kind, name, finding in accepted:
            lines.append(f"{kind} '{name}' breaks `{finding.clause}`, which is accepted: {finding.detail}")
        if self.critic_warmup_steps >= self.steps:
            lines.append(
                f"critic_warmup_steps: {self.critic_warmup_steps} of {self.steps} steps: the policy never learns"
            )
        if self.max_lag and rows and rows < 2 * (1 + self.max_lag) * self.prompts_per_step:
            lines.append(
                f"max_lag: {many(rows, 'prompt')} are few for {many(1 + self.max_lag, 'step')} of {self.prompts_per_step} at "
                "once: one that is still being answered is passed over, and steps run ahead less far"
            )
        if self.eval_every > self.steps:
            lines.append(f"eval_every: {self.eval_every}, of {self.steps} steps: nothing is evaluated on the way")
        return [f"{place}.{line}" for line in lines]
