"""`rlvr`: reinforcement learning with verifiable rewards. `train` is the whole algorithm.

Defaults are those of Step-Audio-R1 (arXiv 2511.15848): on-policy PPO with a critic, 16 responses a prompt, 10,240
tokens, clip 0.2, γ = λ = 1, reward at the last token, no KL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rl.data.mixture import weights_of
from rl.stages.context import Context, Outcome
from rl.stages.rlvr.config import Config

if TYPE_CHECKING:
    from rl.stages.rlvr.learner import Learner


def run(config: Config, context: Context) -> Outcome:
    """Trains from `context.model` and leaves `model/` in the stage's folder."""
    from rl.data.mixture import Mixture, apportion
    from rl.run.checkpoint import Checkpoints
    from rl.stages.curate import kept_ids
    from rl.stages.rlvr.learner import Learner
    from rl.stages.scoring import Scorer

    sources = context.sources(config.data, config.split, config.limit)
    if config.difficulty is not None:
        kept = kept_ids(context.artifact("difficulty", config.difficulty))
        sources = {name: [p for p in prompts if p.id in kept] for name, prompts in sources.items()}
    for name, share in apportion(config.prompts_per_step, weights_of(config.data)).items():
        if len(sources[name]) < max(1, share):
            raise ValueError(
                f"rlvr '{context.name}': {len(sources[name])} prompts are left of '{name}', and a step takes {share} of "
                f"them (prompts_per_step {config.prompts_per_step}); lower it or keep more prompts"
            )
    curriculum = Mixture(sources, weights_of(config.data), context.seed)
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say, context.record)
    with context.judging(config.reward) as rewards:
        learner = Learner(config, context, curriculum, Scorer(rewards), checkpoints)
        metrics = train(config, context, learner)
    learner.policy.export(context.folder / "model")
    return Outcome(metrics, {"model": str(context.folder / "model")}, learner.counts())


def train(config: Config, context: Context, learner: Learner) -> dict[str, float]:
    """The algorithm. Step s samples with policy version s - 1 and makes version s. Returns the last step's metrics."""
    from rl.algorithms.advantages import estimate
    from rl.data.collate import collate, minibatches
    from rl.run.progress import Progress
    from rl.stages.rlvr.learner import Clock
    from rl.workers.group import gather
    from rollouts.sampler import seed_of

    policy, critic, reference, sampler = learner.policy, learner.critic, learner.reference, context.cluster.sampler
    goal, limit = config.resolved(), config.max_sequence_tokens
    with Progress(context.name, config.steps) as progress:
        for step in range(learner.resume() + 1, config.steps + 1):
            clock = Clock()
            scored = learner.sample(step)
            batch = collate([s for s in scored if s.verdict.error is None])
            clock.lap("rollout")
            before, actor = learner.before(step), learner.actor(step)
            old, ref, values = gather(before.logprobs(batch), reference.logprobs(batch), critic.values(batch))
            batch = estimate(batch.add(old=old, ref=ref, values=values), goal, limit)
            clock.lap("logprobs")
            rows = minibatches(len(batch), config.epochs, config.minibatches, seed_of(context.seed, step))
            learned, fitted = gather(
                actor.update(batch, rows, learner.policy_rates(step), goal, limit),
                critic.update(batch, rows, learner.critic_rates(step), goal.value_clip),
            )
            clock.lap("update")
            sampler.load(policy.weights(), version=step)
            clock.lap("sync")
            metrics = learner.measure(step, scored, batch, learned, fitted, clock)
            metrics |= learner.evaluate(step)
            context.tracker.record(step, metrics)
            context.tracker.record_rollouts(step, learner.generated)
            progress.advance(step, metrics)
            learner.checkpoint(step, metrics)
    return learner.last
