"""The plan of an `rlvr` stage: what a step takes, in words and in numbers."""

from __future__ import annotations

from rl.stages import evaluate
from rl.stages.rlvr.config import Config
from rl.stages.workload import StagePlan, Work, rollouts_in_words, temperature_in_words
from rl.units import many


def plan(config: Config, work: Work) -> StagePlan:
    """Return the plan of `rlvr`."""
    objective = config.build_objective()
    batch = config.prompts_per_step * config.samples_per_prompt
    # Without what dynamic sampling draws anew: how much that is, the run decides.
    rollouts = config.steps * batch
    micro_batches, largest = work.optimiser_step(batch // config.minibatches, config.max_sequence_tokens)
    summary = (
        f"{config.algorithm}, each step {many(config.prompts_per_step, 'prompt')} × "
        f"{many(config.samples_per_prompt, 'sample')}{temperature_in_words(config.temperature)}"
        f"{rollouts_in_words(batch, config.max_sequence_tokens)} → {_updates_in_words(config)}{micro_batches}\n"
        f"{_draws_in_words(config, work)}"
    )
    if objective.correction is not None:
        importance = objective.correction
        bounds = f"[{importance.low:g}, {'∞' if importance.high is None else f'{importance.high:g}'}]"
        summary += f"; importance by {importance.level}, {importance.outside} outside {bounds}"
    if config.max_lag:
        summary += f"; samples up to {many(config.max_lag, 'version')} old"
    if objective.filter_zero_variance:
        summary += "; groups of equal accuracy are drawn anew"
    if config.eval_every and config.eval:
        limit = f"{config.eval.limit:,}" if config.eval.limit else "all"
        summary += f"; every {config.eval_every} steps {limit} prompts × {evaluate.samples_in_words(config.eval)}"
    learners = 2 if objective.critic else 1
    # One pass each: logprobs before the update, the critic's values, the reference's logprobs and the teacher's.
    forwards = (
        int(not config.spares_old_logprobs) + int(objective.critic) + len({"reference", "teacher"} & config.roles)
    )
    return work.plan(
        summary,
        rollouts,
        config.max_sequence_tokens,
        records=True,
        rollouts=rollouts,
        steps=config.steps * config.optimiser_steps,
        micro_batch=largest,
        # Mini-batches add no pass: in an epoch every token goes through each learner once, however it is cut.
        updates=config.epochs * learners,
        forwards=forwards,
        checkpoints=(config.keep + bool(config.eval_every)) * learners,  # the best by evaluation stays too
        learners=learners,
    )


def _updates_in_words(config: Config) -> str:
    """Return how many optimiser steps are taken on each batch, as the beginning of the micro-batches' words."""
    if config.optimiser_steps == 1:
        return "1 optimiser step of "
    sequences = config.prompts_per_step * config.samples_per_prompt // config.minibatches
    return (
        f"{many(config.epochs, 'epoch')} × {many(config.minibatches, 'mini-batch')} = "
        f"{config.optimiser_steps} optimiser steps of {many(sequences, 'rollout')}, each "
    )


def _draws_in_words(config: Config, work: Work) -> str:
    """Return how many prompts are drawn over the whole stage."""
    draws = config.steps * config.prompts_per_step
    by = " by recent pass rate" if config.curriculum == "pass_rate" else ""
    words = f"{many(config.steps, 'step')}: {many(draws, 'prompt')} drawn{by} from "
    if config.difficulty:
        most = f"at most {many(config.limit, 'prompt')} of " if config.limit else ""
        return f"{words}{most}what is kept of {work.prompts}"
    epochs = f" ({draws / work.rows:.1f} epochs)" if work.rows else ""
    return words + work.prompts + epochs
