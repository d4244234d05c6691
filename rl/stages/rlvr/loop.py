"""`rlvr`: reinforcement learning with verifiable rewards. `train` is the whole control flow of the algorithm.

Shape legend as in `rl.types`: N sequences, T tokens, A actions (tokens that the policy wrote), all laid end to end. Torch,
Ray and what needs them are imported inside functions, so that `rl check` reads a recipe without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rl.stages.context import Context, Outcome
from rl.stages.kind import MODEL_REFERENCE, Kind
from rl.stages.rlvr.config import Config
from rl.stages.rlvr.plan import plan

if TYPE_CHECKING:
    from rl.stages.rlvr.learner import Learner
    from rl.stages.rlvr.recorder import Recorder
    from rl.stages.rlvr.stream import SampleStream
    from rl.types import Prompt


def train(config: Config, context: Context, learner: Learner, stream: SampleStream, recorder: Recorder) -> None:
    """Train the policy. Step s learns from samples of policy version s - 1, or of up to `max_lag` versions before, and makes
    version s."""
    from rl.algorithms.advantages import estimate
    from rl.data.collate import collate, minibatches
    from rl.run.progress import Progress
    from rl.stages.rlvr.recorder import Clock
    from rl.workers.roles import gather
    from rollouts.sampler import seed_of

    policy, critic, sampler = learner.policy, learner.critic, context.cluster.sampler
    reference, teacher = learner.reference, learner.teacher  # frozen both
    # max_tokens: where the overlong penalty ends, and the constant that Dr.GRPO divides by.
    objective, max_tokens, max_gap = config.build_objective(), config.max_sequence_tokens, recorder.gaps.bounds.stop
    finished_steps = recorder.resume()  # loads models and engines, from the newest checkpoint if there is one
    with Progress(context.name, config.steps) as progress:
        for step in range(finished_steps + 1, config.steps + 1):
            clock = Clock()
            # The next groups in the order in which prompts were drawn: the order of completion has no influence. What is drawn
            # ahead is written on meanwhile.
            scored = stream.take(step)
            # An errored verdict is no score of 0: such a sample is recorded and kept out of the gradient.
            judged = [s for s in scored if s.verdict.error is None]
            batch = collate(judged, version=step - 1)
            batch = batch.add(scale=stream.loss_scale(judged), placed=stream.placed_rewards(judged))
            clock.lap("rollout")
            # Four tensors [A], computed in parallel by their own ranks; None from an absent model. The teacher may read another
            # prompt before the same answers.
            source, trained_policy = learner.old_logprob_source(step), learner.trained_policy(step)
            old, ref, taught, values = gather(
                source.logprobs(batch),
                reference.logprobs(batch),
                teacher.logprobs(learner.teacher_batch(batch, judged)),
                critic.values(batch),
            )
            batch = batch.add(old=old, ref=ref, teacher=taught, values=values)
            # Before the update: engines that compute otherwise must not move the weights. Without `old` the update looks.
            recorder.check_samples(step, batch)
            # On the whole batch, before it is cut into mini-batches: group baselines and whitening need all samples.
            batch = estimate(batch, objective, max_tokens)
            clock.lap("logprobs")
            # epochs × minibatches lists of rows, shuffled by a seed of the step, so that a resumed run repeats them, and those of a
            # prompt beside each other.
            shuffle = seed_of(context.seed, step)
            rows = minibatches(batch.groups_N, config.epochs, config.minibatches, shuffle)
            critic_rows = minibatches(batch.groups_N, config.epochs, config.critic_minibatches, shuffle)
            policy_metrics, critic_metrics = gather(
                trained_policy.update(batch, rows, learner.policy_rates(step), objective, max_tokens, max_gap),
                critic.update(batch, critic_rows, learner.critic_rates(step, len(critic_rows)), objective.value_clip),
            )
            clock.lap("update")
            # Engines get the new weights before the next step, and go on with them (the same ones while the critic warms up).
            sampler.load(policy.weights(), version=step)
            clock.lap("sync")
            metrics = recorder.record(step, scored, batch, policy_metrics, critic_metrics, clock)
            progress.advance(step, metrics)


def run(config: Config, context: Context) -> Outcome:
    """Train from `context.model` and leave `model/` in the stage's folder."""
    from rl.data.mixture import Mixture, weights_of
    from rl.run.checkpoint import Checkpoints
    from rl.stages.rlvr.learner import Learner
    from rl.stages.rlvr.recorder import Recorder
    from rl.stages.rlvr.stream import SampleStream
    from rl.stages.scoring import Scorer

    curriculum = Mixture(_sources(config, context), weights_of(config.data), context.seed, config.curriculum)
    checkpoints = Checkpoints(context.folder / "checkpoints", config.keep, context.say, context.record)
    with context.reward_service(config.reward) as rewards:
        learner, stream = Learner(config, context), SampleStream(config, context, curriculum, Scorer(rewards))
        recorder = Recorder(config, context, learner, stream, checkpoints)
        train(config, context, learner, stream, recorder)
    learner.policy.export(context.folder / "model")
    return Outcome(recorder.last, {"model": str(context.folder / "model")}, recorder.counts())


def _sources(config: Config, context: Context) -> dict[str, Sequence[Prompt]]:
    """Return {source: prompts to draw from}, those of medium difficulty alone where `difficulty` says so. Raises
    ValueError where a source has fewer than one step takes of it."""
    from rl.data.mixture import apportion, limits, weights_of
    from rl.stages.curate import kept_ids

    training_data = config.reads[0]  # the second is what is evaluated on the way
    sources: dict[str, Sequence[Prompt]] = context.sources(training_data.data, training_data.split, training_data.limit)
    if config.difficulty is not None:
        # First chosen, then capped: the other way round most of the few that the cap leaves would be thrown away.
        ids = kept_ids(context.artifact("difficulty", config.difficulty))
        caps = limits(config.data, config.limit)
        sources = {name: [p for p in prompts if p.id in ids][: caps[name]] for name, prompts in sources.items()}
    for name, share in apportion(config.prompts_per_step, weights_of(config.data)).items():
        if len(sources[name]) < max(1, share):
            raise ValueError(
                f"rlvr '{context.name}': {len(sources[name])} prompts are left of '{name}', and a step takes {share} of "
                f"them (prompts_per_step {config.prompts_per_step}); lower it or keep more prompts"
            )
    return sources


KIND = Kind(
    Config,
    run,
    plan,
    makes=("model",),
    length="steps",
    references={**MODEL_REFERENCE, "critic": "model", "teacher": "model", "difficulty": "difficulty"},
)
