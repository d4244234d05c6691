"""Writes an rlvr stage's settings as overrides of verl's Hydra configuration (0.9.1, `ppo_trainer`)."""

from __future__ import annotations

from rl.algorithms.objective import Importance, Objective
from rl.config import ConfigError
from rl.exchange.selection import Selection
from rl.workers.optimizer import OptimizerConfig

Overrides = dict[str, object]
"""Key of verl's configuration -> value."""
ADVANTAGES = {
    "gae": "gae",
    "grpo": "grpo",
    "dr_grpo": "grpo",
    "rloo": "rloo",
    "reinforce++": "reinforce_plus_plus",
    "reinforce++-baseline": "reinforce_plus_plus_baseline",
}
"""Our advantage -> verl's `adv_estimator`."""
POLICY_LOSSES = {"ppo_clip": "vanilla", "gspo": "gspo", "cispo": "cispo"}
"""Our policy loss -> verl's `loss_mode`."""
MEANS = {
    "token_mean": "token-mean",
    "sequence_mean": "seq-mean-token-mean",
    "constant": "seq-mean-token-sum-norm",
}
"""Our `normalise` -> verl's `loss_agg_mode`."""
KL_ESTIMATORS = {"k1": "kl", "k2": "mse", "k3": "low_var_kl"}
"""Our estimator of the KL divergence -> verl's."""
UNBOUNDED = 1e6
"""Bound of a value's move where there is none."""
NEVER_CLIPPED = 1e30
"""Norm of gradients that none has: verl always clips, and at 0 it would learn nothing."""


def overrides(selection: Selection, prompt_tokens: int) -> tuple[Overrides, list[str]]:
    """Return (the overrides, a line for each setting that verl cannot take). `prompt_tokens` is the longest prompt that is
    allowed. Raises ConfigError for an advantage or a policy loss that verl does not have."""
    config, header = selection.config, selection.recipe.header
    objective = config.build_objective(selection.stage.place)
    place = f"{selection.stage.place}.objective"
    if objective.advantage not in ADVANTAGES:
        raise ConfigError(f"{place}.advantage: verl has no '{objective.advantage}'; it has {', '.join(ADVANTAGES)}")
    if objective.policy_loss not in POLICY_LOSSES:
        raise ConfigError(
            f"{place}.policy_loss: verl has no '{objective.policy_loss}'; it has {', '.join(POLICY_LOSSES)}"
        )
    values: Overrides = {
        "data.train_files": "$HERE/train.parquet",
        # verl demands a file here, also where nothing is validated.
        "data.val_files": "$HERE/val.parquet" if selection.test else "$HERE/train.parquet",
        "data.train_batch_size": config.prompts_per_step,
        "data.max_prompt_length": prompt_tokens,
        "data.max_response_length": config.max_sequence_tokens - prompt_tokens,
        "data.seed": header.seed,
        "actor_rollout_ref.model.path": selection.model,
        "actor_rollout_ref.model.enable_gradient_checkpointing": header.model.gradient_checkpointing,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": config.samples_per_prompt,
        "actor_rollout_ref.rollout.temperature": config.temperature,
        "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz": True,
        "reward.custom_reward_function.path": "$HERE/reward.py",
        "reward.custom_reward_function.name": "compute_score",
        "trainer.total_training_steps": config.steps,
        "trainer.total_epochs": _epochs(selection),
        "trainer.project_name": "groundtone",
        "trainer.experiment_name": selection.recipe.name,
        "trainer.save_freq": config.checkpoint_every,
        "trainer.test_freq": config.eval_every or -1,
        "trainer.val_before_train": bool(selection.test),
        "trainer.n_gpus_per_node": header.trainer.ranks,
        "trainer.nnodes": 1,
        "trainer.logger": ["console"],
    }
    values |= _actor(selection) | _algorithm(objective)
    if objective.critic:
        values |= _critic(selection)
    lora = header.model.lora
    if lora is not None:
        adapter = {"lora_rank": lora.rank, "lora_alpha": lora.alpha, "target_modules": lora.targets}
        values |= {f"actor_rollout_ref.model.{key}": value for key, value in adapter.items()}
    return values, _not_carried_over(selection, objective)


def _epochs(selection: Selection) -> int:
    """Return passes over the data that surely give the steps."""
    per_epoch = max(1, len(selection.train) // selection.config.prompts_per_step)
    return -(-selection.config.steps // per_epoch)


def _actor(selection: Selection) -> Overrides:
    config, header = selection.config, selection.recipe.header
    objective = config.build_objective()
    actor: Overrides = {
        # verl counts prompts here, and multiplies by the samples of each.
        "ppo_mini_batch_size": max(1, config.prompts_per_step // config.minibatches),
        "ppo_epochs": config.epochs,
        "use_dynamic_bsz": True,
        # verl refuses a micro-batch that cannot hold the longest sequence.
        "ppo_max_token_len_per_gpu": max(header.trainer.tokens_per_microbatch, config.max_sequence_tokens),
        "clip_ratio_low": objective.clip_low,
        "clip_ratio_high": objective.clip_high,
        "clip_ratio": objective.clip_low,
        "loss_agg_mode": MEANS[objective.normalise],
        "policy_loss.loss_mode": POLICY_LOSSES[objective.policy_loss],
        "entropy_coeff": objective.entropy_coef,
        **_optimizer(config.optimizer),
    }
    if objective.dual_clip is not None:
        actor["clip_ratio_c"] = objective.dual_clip
    if objective.kl_coef and objective.kl_in == "loss":
        estimator = KL_ESTIMATORS[objective.kl_estimator]
        actor |= {"use_kl_loss": True, "kl_loss_coef": objective.kl_coef, "kl_loss_type": estimator}
    return {f"actor_rollout_ref.actor.{key}": value for key, value in actor.items()}


def _optimizer(optimizer: OptimizerConfig) -> Overrides:
    return {
        "optim.lr": optimizer.learning_rate,
        "optim.lr_warmup_steps": optimizer.warmup_steps,
        "optim.weight_decay": optimizer.weight_decay,
        "optim.betas": [*optimizer.betas],
        "optim.clip_grad": optimizer.gradient_clipping or NEVER_CLIPPED,
        "optim.lr_scheduler_type": "cosine" if optimizer.schedule == "cosine" else "constant",
    }


def _algorithm(objective: Objective) -> Overrides:
    values: Overrides = {
        "adv_estimator": ADVANTAGES[objective.advantage],
        "gamma": objective.gamma,
        "lam": objective.lam,
        # verl's Dr. GRPO is its GRPO without the division by the deviation of the group.
        "norm_adv_by_std_in_grpo": objective.advantage != "dr_grpo",
    }
    if objective.kl_coef and objective.kl_in == "reward":
        values |= {
            "use_kl_in_reward": True,
            "kl_ctrl.kl_coef": objective.kl_coef,
            "kl_penalty": KL_ESTIMATORS[objective.kl_estimator],
        }
    if objective.filter_zero_variance:
        values |= {"filter_groups.enable": True, "filter_groups.metric": "acc", "filter_groups.max_num_gen_batches": 10}
    values |= _correction(objective.correction)
    return {f"algorithm.{key}": value for key, value in values.items()}


def _correction(correction: Importance | None) -> Overrides:
    """Return verl's importance weights of the same mathematics, or none where it has no such."""
    if correction is None or correction.high is None or correction.level == "geometric":
        return {}  # verl rejects by the geometric mean, and then leaves what it rejects out of the mean, too
    is_mask = correction.outside == "mask"
    if is_mask != (correction.low > 0):
        return {}  # verl masks between two bounds above 0, and truncates at an upper one
    # verl reads a number as truncation and "low_high" as a mask.
    threshold = f"{correction.low!r}_{correction.high!r}" if is_mask else correction.high
    return {"rollout_correction.rollout_is": correction.level, "rollout_correction.rollout_is_threshold": threshold}


def _critic(selection: Selection) -> Overrides:
    config, objective = selection.config, selection.config.build_objective()
    critic: Overrides = {
        "model.path": selection.model,
        **_optimizer(config.critic_optimizer),
        "ppo_mini_batch_size": max(1, config.prompts_per_step // config.critic_minibatches),
        "use_dynamic_bsz": True,
        "cliprange_value": UNBOUNDED if objective.value_clip is None else objective.value_clip,
    }
    values = {f"critic.{key}": value for key, value in critic.items()}
    return values | {"trainer.critic_warmup": config.critic_warmup_steps}


def _not_carried_over(selection: Selection, objective: Objective) -> list[str]:
    """Return a line for each setting of the stage that has another meaning in verl, or none."""
    config, header = selection.config, selection.recipe.header
    notes = {
        "objective.overlong_buffer is verl's reward manager `dapo`": objective.overlong_buffer > 0,
        "objective.teacher_coef": objective.teacher_coef > 0,
        "curriculum: pass_rate": config.curriculum == "pass_rate",
        "objective.mask_truncated": objective.mask_truncated,
        f"objective.importance: {objective.correction}": bool(objective.correction)
        and not _correction(objective.correction),
        "objective.whiten is decided by verl's estimator": objective.whiten != (objective.advantage == "gae"),
        "optimizer.schedule linear (verl decays by cosine or not at all)": config.optimizer.schedule == "linear",
        "critic_optimizer.schedule linear (verl decays by cosine or not at all)": objective.critic
        and config.critic_optimizer.schedule == "linear",
        "minibatches: verl's hold whole prompts": config.prompts_per_step % config.minibatches > 0,
        "critic_minibatches: verl's hold whole prompts": objective.critic
        and config.prompts_per_step % config.critic_minibatches > 0,
        "max_lag (verl samples, and then learns)": config.max_lag > 0,
        "model.lora of the critic (all its weights train)": objective.critic and header.model.lora is not None,
        "critic: it starts from the policy's model": bool(config.critic),
        "trainer.zero_stage (verl shards by FSDP)": header.trainer.zero_stage > 0,
        "trainer.deepspeed": bool(header.trainer.deepspeed),
        "engines.vllm: see actor_rollout_ref.rollout": bool(header.engines.vllm),
        "reward.watch": bool(selection.reward.watch),
    }
    return [f"{selection.stage.place}: not carried over: {name}" for name, applies in notes.items() if applies]
