"""The same optimiser step gives the same gradient, whatever the micro-batches, packing order, ranks or ZeRO stage, and
it is the gradient that plain autograd finds with every sequence alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from worlds import BETA

from models.heads import CRITIC_FILE, ValueModel
from rl.algorithms.objective import Importance, Objective
from rl.algorithms.preference_losses import Preference
from rl.finite import NonFiniteError
from rl.types import Batch

LENGTHS = [5, 60, 12, 7, 33, 21, 9, 48, 17, 4, 26]
STAGES = {0: {}, 1: {}, 2: {}, 3: {"stage3_param_persistence_threshold": 0}}  # really shards, small as it all is
BUDGETS = (1, 64, 10_000)
OBJECTIVES = {
    "ppo by tokens": Objective(),
    "ppo by sequences": Objective(normalise="sequence_mean", entropy_coef=0.1),
    "imitation": Objective(advantage="none", policy_loss="nll", critic=False),
}
Gradient = Mapping[str, Tensor]


@pytest.fixture(scope="module")
def batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    written = torch.cat([(torch.arange(n) >= 2) & (torch.rand(n, generator=draw) < 0.8) for n in LENGTHS])
    actions, count = int(written.sum()), len(LENGTHS)
    columns = {n: torch.randn(actions, generator=draw) for n in ("advantages", "values", "returns")}
    return Batch(
        tokens_T=torch.randint(0, 256, (sum(LENGTHS),), generator=draw),
        lengths_N=torch.tensor(LENGTHS),
        action_mask_T=written,
        rollout_logprobs_A=-2 * torch.rand(actions, generator=torch.Generator().manual_seed(1)),
        scores_N=torch.zeros(count),
        groups_N=torch.arange(count),
    ).add(**columns, old=torch.full((actions,), -5.5) + 0.3 * torch.randn(actions, generator=draw))


def weights(batch: Batch, by_sequence: bool) -> list[Tensor]:
    """What each action counts, per sequence."""
    counts = batch.actions_N.tolist()
    return [torch.full((n,), 1 / (len(counts) * n) if by_sequence else 1 / sum(counts)) for n in counts]


def alone(batch: Batch) -> list[dict[str, Tensor]]:
    """Every sequence for itself: its tokens, the places before its actions, the actions, and its columns."""
    counts = batch.actions_N.tolist()
    names = ("advantages", "values", "returns", "old", "rollout_logprobs")
    columns = {n: getattr(batch, f"{n}_A").split(counts) for n in names}
    pieces = zip(batch.tokens_T.split(LENGTHS), batch.action_mask_T.split(LENGTHS), strict=True)
    return [
        {"ids": ids[None], "before": torch.nonzero(written)[:, 0] - 1, "actions": ids[written]}
        | {name: column[i] for name, column in columns.items()}
        for i, (ids, written) in enumerate(pieces)
    ]


@pytest.fixture(scope="module")
def truth(untied: Path, batch: Batch) -> dict[str, tuple[float, Gradient]]:
    """{objective: (loss, gradient)}, without anything of ours: transformers' eager attention, full logits."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(untied, attn_implementation="eager", dtype=torch.float32)
    found: dict[str, tuple[float, Gradient]] = {}
    for name, goal in OBJECTIVES.items():
        loss = torch.zeros(())
        for s, w in zip(alone(batch), weights(batch, goal.normalise == "sequence_mean"), strict=True):
            logprobs = torch.log_softmax(model(s["ids"]).logits[0, s["before"]], dim=-1)
            chosen = logprobs.gather(1, s["actions"][:, None])[:, 0]
            ratio = (chosen - s["old"]).exp()
            term = -torch.minimum(ratio * s["advantages"], ratio.clamp(0.8, 1.2) * s["advantages"])
            if goal.policy_loss == "nll":
                term = -chosen
            entropy = -(logprobs.exp() * logprobs).sum(-1)
            loss = loss + ((term - goal.entropy_coef * entropy) * w).sum()
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters)
        found[name] = float(loss.detach()), {f"lm.{n}": g for n, g in zip(names, gradients, strict=True)}
    return found


@pytest.fixture(scope="module")
def critic_folder(untied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A critic whose head is not zero any more."""
    folder, critic = tmp_path_factory.mktemp("critic"), ValueModel(untied, "float32")
    torch.nn.init.normal_(critic.head.weight, std=0.3, generator=torch.Generator().manual_seed(3))
    critic.save_config(folder)
    save_file(critic.state_dict(), folder / CRITIC_FILE)
    return folder


@pytest.fixture(scope="module")
def critic_truth(critic_folder: Path, batch: Batch) -> tuple[float, Gradient]:
    from transformers import AutoConfig, AutoModel

    trunk = AutoModel.from_config(AutoConfig.from_pretrained(critic_folder), attn_implementation="eager")
    saved = load_file(critic_folder / CRITIC_FILE)
    trunk.load_state_dict({n.removeprefix("trunk."): t for n, t in saved.items() if n.startswith("trunk.")})
    head, bias = saved["head.weight"].requires_grad_(), saved["head.bias"].requires_grad_()
    loss = torch.zeros(())
    for s, w in zip(alone(batch), weights(batch, by_sequence=False), strict=True):
        states = trunk(s["ids"]).last_hidden_state[0, s["before"]]
        # What a critic reads beside the states, an action at a time: 0 for the first, which no other comes before.
        surprises = [[0.0, *(-s["rollout_logprobs"]).tolist()][: i + 1] for i in range(len(states))]
        beside = [[earlier[-1], max(earlier), math.log(1 + sum(earlier))] for earlier in surprises]
        values = (torch.cat([states, torch.tensor(beside)], 1) @ head.T)[:, 0] + bias
        held = s["values"] + (values - s["values"]).clamp(-0.5, 0.5)
        loss = loss + (0.5 * torch.maximum((values - s["returns"]) ** 2, (held - s["returns"]) ** 2) * w).sum()
    names, parameters = zip(*trunk.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, [*parameters, head, bias])
    return float(loss.detach()), dict(
        zip([*(f"trunk.{n}" for n in names), "head.weight", "head.bias"], gradients, strict=True)
    )


def norm(gradient: Gradient) -> float:
    return float(sum(g.double().square().sum() for g in gradient.values()) ** 0.5)


def distance(one: Gradient, other: Gradient) -> float:
    """Global relative L2."""
    assert one.keys() == other.keys()
    return norm({n: one[n].double() - other[n].double() for n in one}) / norm(other)


class Gradients:
    """The gradient of one step after the other, read from AdamW's momentum; the learning rate is 0."""

    def __init__(self, world: Any, role: str, verb: str = "update") -> None:
        self.world, self.role, self.group, self.verb = world, role, getattr(world, role), verb
        self.before: Gradient | None = None

    def of(self, budget: int, *update: Any) -> tuple[dict[str, float], Gradient]:
        self.group.config = replace(self.group.config, tokens_per_microbatch=budget)
        report = getattr(self.group, self.verb)(*update).get()
        after = self.world.momentum(self.role)
        before, self.before = self.before or {n: torch.zeros_like(m) for n, m in after.items()}, after
        return report, {n: (after[n] - BETA * before[n]) / (1 - BETA) for n in after}


def check(report: dict[str, float], gradient: Gradient, expected: tuple[float, Gradient]) -> None:
    assert distance(gradient, expected[1]) <= 1e-5
    assert report["loss"] == pytest.approx(expected[0], rel=1e-5, abs=1e-6)
    assert report["grad_norm"] == pytest.approx(norm(expected[1]), rel=1e-5)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_policy(worlds: Callable[[int], Any], untied: Path, batch: Batch, truth: Any, ranks: int, stage: int) -> None:
    world, rows = worlds(ranks), list(range(len(batch)))
    world.load("policy", untied, stage, **STAGES[stage])
    gradients = Gradients(world, "policy")
    shuffled = torch.randperm(len(batch), generator=torch.Generator().manual_seed(1)).tolist()
    for name, goal in OBJECTIVES.items():
        for budget in BUDGETS:
            check(*gradients.of(budget, batch, [rows], [0.0], goal, 64), truth[name])
        other = batch.select(shuffled)
        check(*gradients.of(64, other, [rows], [0.0], goal, 64), truth[name])


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_critic(
    worlds: Callable[[int], Any], critic_folder: Path, batch: Batch, critic_truth: Any, ranks: int, stage: int
) -> None:
    world, rows = worlds(ranks), list(range(len(batch)))
    world.load("critic", critic_folder, stage, **STAGES[stage])
    gradients = Gradients(world, "critic")
    for budget in BUDGETS:
        check(*gradients.of(budget, batch, [rows], [0.0], 0.5), critic_truth)


MASKS = {"token": (0.8, 1.25), "sequence": (0.3, 3.0), "geometric": (0.95, 1.05)}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("level", MASKS)
@pytest.mark.parametrize("normalise", ["token_mean", "sequence_mean"])
def test_masks(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, ranks: int, level: str, normalise: str
) -> None:
    """Terms are left out by trainer / engine, and sequences by their scale; the rest weighs what it weighs without that."""
    from transformers import AutoModelForCausalLM

    low, high = MASKS[level]
    goal: Any = Objective(normalise=normalise, importance=Importance(level, low, high, "mask"))  # type: ignore[arg-type]
    draw = torch.Generator().manual_seed(4)
    batch = replace(batch, rollout_logprobs_A=batch.old_A + 0.3 * torch.randn(len(batch.old_A), generator=draw))
    scales = [0.0 if i in (1, 5, 8) else 0.75 for i in range(len(LENGTHS))]
    scaled = batch.add(scale=torch.tensor(scales).repeat_interleave(batch.actions_N))
    model = AutoModelForCausalLM.from_pretrained(untied, attn_implementation="eager", dtype=torch.float32)
    engine = batch.rollout_logprobs_A.split(batch.actions_N.tolist())
    loss, masked, masked_sequences = torch.zeros(()), 0, 0
    for s, w, e, scale in zip(alone(batch), weights(batch, normalise == "sequence_mean"), engine, scales, strict=True):
        logprobs = torch.log_softmax(model(s["ids"]).logits[0, s["before"]], dim=-1)
        ratio = (logprobs.gather(1, s["actions"][:, None])[:, 0] - s["old"]).exp()
        term = -torch.minimum(ratio * s["advantages"], ratio.clamp(0.8, 1.2) * s["advantages"])
        gap = s["old"] - e
        gap = {"token": gap, "sequence": gap.sum() + 0 * gap, "geometric": gap.mean() + 0 * gap}[level].exp()
        inside = (gap >= low) & (gap <= high)
        kept = (torch.ones_like(gap) if level == "geometric" else gap) * inside
        masked, masked_sequences = masked + int((~inside).sum()), masked_sequences + int(not bool(inside.all()))
        loss = loss + scale * (kept * term * w).sum()
    assert 0 < masked < len(batch.old_A)
    names, parameters = zip(*model.named_parameters(), strict=True)
    expected = {f"lm.{n}": g for n, g in zip(names, torch.autograd.grad(loss, parameters), strict=True)}
    world = worlds(ranks)
    world.load("policy", untied)
    gradients = Gradients(world, "policy")
    shuffled = torch.randperm(len(batch), generator=torch.Generator().manual_seed(1)).tolist()
    for budget, cut in [*((budget, scaled) for budget in BUDGETS), (64, scaled.select(shuffled))]:
        report, gradient = gradients.of(budget, cut, [list(range(len(batch)))], [0.0], goal, 64)
        check(report, gradient, (float(loss.detach()), expected))
        assert report["importance_masked"] == pytest.approx(masked / len(batch.old_A))
        assert report["importance_masked/sequences"] == pytest.approx(masked_sequences / len(batch))


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_critic_leaves_out_what_is_masked(
    worlds: Callable[[int], Any], critic_folder: Path, batch: Batch, ranks: int
) -> None:
    """Halves of a step, scaled to 0 outside themselves, add up to the step."""
    world, rows = worlds(ranks), list(range(len(batch)))
    world.load("critic", critic_folder)
    gradients = Gradients(world, "critic")
    _, whole = gradients.of(64, batch, [rows], [0.0], 0.5)
    halves: list[Gradient] = []
    for parity in (0.0, 1.0):
        scale = (torch.arange(len(batch)) % 2 == parity).float().repeat_interleave(batch.actions_N)
        halves.append(gradients.of(64, batch.add(scale=scale), [rows], [0.0], 0.5)[1])
    assert norm(halves[0]) > 0
    assert distance({n: halves[0][n] + halves[1][n] for n in whole}, whole) <= 1e-5


@pytest.mark.parametrize("ranks", [1, 2])
def test_pairs(worlds: Callable[[int], Any], untied: Path, batch: Batch, ranks: int) -> None:
    """Chosen and rejected by turns: a pair is never parted, and the last rank may have none."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(untied, attn_implementation="eager", dtype=torch.float32)
    ratios = []
    for s in alone(batch)[:10]:
        logprobs = torch.log_softmax(model(s["ids"]).logits[0, s["before"]], dim=-1)
        ratios.append((logprobs.gather(1, s["actions"][:, None])[:, 0] - s["old"]).sum())
    margins = torch.stack(ratios[0::2]) - torch.stack(ratios[1::2])
    loss = -torch.nn.functional.logsigmoid(0.2 * margins).mean()
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = {f"lm.{n}": g for n, g in zip(names, torch.autograd.grad(loss, parameters), strict=True)}
    pairs = batch.add(ref=batch.old_A).select(range(10))
    world = worlds(ranks)
    world.load("policy", untied)
    found = Gradients(world, "policy", "update_pairs")
    for budget in BUDGETS:
        report, gradient = found.of(budget, pairs, [range(10)], [0.0], Preference(beta=0.2))
        check(report, gradient, (float(loss.detach()), gradients))
        assert report["margin"] == pytest.approx(0.2 * float(margins.mean()), rel=1e-4)
        assert report["accuracy"] == pytest.approx(float((margins > 0).float().mean()))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_clipping_scales_the_whole_gradient(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, truth: Any, ranks: int, stage: int
) -> None:
    """The reported norm is the one before clipping."""
    world, (_, expected) = worlds(ranks), truth["imitation"]
    limit = norm(expected) / 3
    world.load("policy", untied, stage, clipping=limit, **STAGES[stage])
    report, clipped = Gradients(world, "policy").of(64, batch, [range(len(batch))], [0.0], OBJECTIVES["imitation"], 64)
    assert report["grad_norm"] == pytest.approx(norm(expected), rel=1e-5)
    assert distance(clipped, {n: g / 3 for n, g in expected.items()}) <= 1e-5


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_no_step_on_a_gradient_that_is_not_finite(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, ranks: int, stage: int
) -> None:
    world = worlds(ranks)
    world.load("policy", untied, stage)
    before = world.parameters("policy")
    spoilt = batch.add(advantages=batch.advantages_A.clone().index_fill_(0, torch.tensor([5]), float("inf")))
    with pytest.raises(
        NonFiniteError, match=r"^the advantages of sequence \d of 11 are infinite; the largest weight is 1"
    ):
        world.policy.update(spoilt, [range(len(batch))], [1e-2], Objective(), 64).get()
    after = world.parameters("policy")
    assert all(torch.equal(before[n], after[n]) for n in before)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_what_a_step_breaks_on_is_named(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, ranks: int, stage: int
) -> None:
    """By every rank alike: after a step that is far too large, the losses and logprobs of what has become of the model."""
    world, rows = worlds(ranks), [range(len(batch))]
    named = replace(batch, names_N=tuple(f"row-{i}" for i in range(len(batch))))
    world.load("policy", untied, stage, **STAGES[stage])
    world.policy.update(named, rows, [1e30], OBJECTIVES["imitation"], 64).get()
    row = r"sequence \d+ of 11 \(prompt 'row-\d+'\)"
    with pytest.raises(NonFiniteError, match=rf"^the logprobs of {row} are not finite"):
        world.policy.logprobs(named).get()
    with pytest.raises(
        NonFiniteError, match=rf"^the loss of {row} is (NaN|infinite); the largest weight is \d\S*e\+\d\d$"
    ):
        world.policy.update(named, rows, [1e-3], OBJECTIVES["imitation"], 64).get()


@pytest.mark.parametrize("stage", [0, 3])
def test_a_gradient_without_a_number_is_named_where_losses_have_one(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, stage: int
) -> None:
    world = worlds(2)
    world.load("policy", untied, stage, **STAGES[stage])
    world.policy.update(batch, [range(len(batch))], [1e6], OBJECTIVES["imitation"], 64).get()
    with pytest.raises(
        NonFiniteError, match=r"^the gradient of lm\.\S+ is (NaN|infinite) in [\d,]+ of [\d,]+ values; the l"
    ):
        world.policy.update(batch, [range(len(batch))], [1e-3], OBJECTIVES["imitation"], 64).get()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_step_of_wide_gaps_is_not_taken(worlds: Callable[[int], Any], untied: Path, batch: Batch, ranks: int) -> None:
    """A broken engine must not have moved the weights; the gap is that of all ranks, and a bound above it lets it pass. Where
    the old policy's logprobs are there the driver has looked, and steps of a policy that has moved are all taken."""
    world, with_old, batch = worlds(ranks), batch, replace(batch, _old_A=None)
    world.load("policy", untied)
    before, rows = world.parameters("policy"), [range(len(batch))]
    report = world.policy.update(batch, rows, [1e-2], OBJECTIVES["imitation"], 64, 1e-9).get()
    assert report["logprob_gap/max"] > report["logprob_gap"] > 1e-9
    after = world.parameters("policy")
    assert all(torch.equal(before[n], after[n]) for n in before)
    world.load("policy", untied)
    taken = world.policy.update(batch, rows, [1e-2], OBJECTIVES["imitation"], 64, 1.01 * report["logprob_gap"]).get()
    assert taken["logprob_gap"] == pytest.approx(report["logprob_gap"])
    assert not torch.equal(before["lm.lm_head.weight"], world.parameters("policy")["lm.lm_head.weight"])
    world.load("policy", untied)
    steps = world.policy.update(with_old, rows * 2, [1e-2] * 2, OBJECTIVES["imitation"], 64, 1e-9).get()
    assert math.isfinite(steps["grad_norm"])


@pytest.mark.parametrize("ranks", [1, 2])
def test_several_steps_and_steps_without_sequences(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, ranks: int
) -> None:
    """Two steps of one update are two updates; a part that got no sequence is no step."""
    world, goal, rows = worlds(ranks), OBJECTIVES["imitation"], [[0, 3, 5], [1, 2, 4, 6], []]
    found = []
    for updates in ([rows], [[r] for r in rows[:2]]):
        world.load("policy", untied)
        reports = [world.policy.update(batch, part, [1e-2] * len(part), goal, 64).get() for part in updates]
        found.append(world.parameters("policy"))
    assert all(torch.equal(found[0][n], found[1][n]) for n in found[0])
    gaps = {"logprob_gap", "logprob_gap/far", "logprob_gap/max", "on_policy"}
    assert set(reports[0]) == {"loss", "entropy", "grad_norm", *gaps}
