"""Weights for the mismatch of trainer and engine: by hand, against verl and TRL, and as properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ragged import LENGTHS, SEEDS, flat, mask, padded, ragged, random_batch, take
from torch import Tensor

from rl.algorithms.importance import add_sample_size, diagnose_importance, importance_weights
from rl.algorithms.objective import Importance, Objective
from rl.algorithms.policy_losses import policy_objective
from rl.types import Batch

BOUNDS = st.sampled_from([(0.0, 2.0), (0.0, 1.1), (0.5, 5.0), (0.9, 1.1), (0.8, None), (0.8, 1.0)])
KINDS = st.sampled_from(
    [("token", "clip"), ("token", "mask"), ("sequence", "clip"), ("sequence", "mask"), ("geometric", "mask")]
)


def logs(*ratios: float) -> list[float]:
    return [math.log(r) for r in ratios]


def gradient(batch: Batch, correction: Importance) -> tuple[list[float], list[float], dict[str, Tensor]]:
    """(loss, gradient with respect to the logprobs, diagnostics) where old and new logprobs are 0."""
    logprobs = torch.zeros(int(batch.actions_N.sum()), dtype=torch.float64, requires_grad=True)
    loss, diagnostics = policy_objective(logprobs, None, batch, Objective(importance=correction))
    loss.sum().backward()
    assert logprobs.grad is not None
    return loss.tolist(), logprobs.grad.tolist(), diagnostics


# Trainer / engine is 4, 0.5, 1, 5 and 0.49: of the first sequence 2 in the product and 2^(1/2) in the geometric mean, of the
# second 2.45 and 2.45^(1/3).
GAPS = logs(1 / 4, 2, 1, 1 / 5, 1 / 0.49)


def gaps_batch(gaps: list[int] | None = None) -> Batch:
    return ragged([2, 3], gaps=gaps, old=[0.0] * 5, advantages=[1, 2, -1, 1, 1], rollout_logprobs=GAPS)


@pytest.mark.parametrize("gaps", [None, [3, 0], [1, 5]], ids=["one turn", "a tool's tokens", "two tools' tokens"])
@pytest.mark.parametrize(
    ("correction", "weights", "outside", "sequences"),
    [
        (Importance("token", 0, 2.0, "clip"), [2, 0.5, 1, 2, 0.49], [1, 0, 0, 1, 0], [1, 1]),  # TIS
        (Importance("token", 0.6, 4.5, "clip"), [4, 0.6, 1, 4.5, 0.6], [0, 1, 0, 1, 1], [1, 1]),
        (Importance("token", 0.6, None, "clip"), [4, 0.6, 1, 5, 0.6], [0, 1, 0, 0, 1], [1, 1]),
        (Importance("sequence", 0, 2.2, "clip"), [2, 2, 2.2, 2.2, 2.2], [0, 0, 1, 1, 1], [0, 1]),
        (Importance("token", 0.5, 5.0, "mask"), [4, 0.5, 1, 5, 0], [0, 0, 0, 0, 1], [0, 1]),  # IcePop: bounds belong
        (Importance("token", 0.6, 3.0, "mask"), [0, 0, 1, 0, 0], [1, 1, 0, 1, 1], [1, 1]),
        (Importance("token", 0, 4.5, "mask"), [4, 0.5, 1, 0, 0.49], [0, 0, 0, 1, 0], [0, 1]),
        (Importance("token", 0.6, None, "mask"), [4, 0, 1, 5, 0], [0, 1, 0, 0, 1], [1, 1]),
        (Importance("sequence", 0.5, 2.2, "mask"), [2, 2, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1]),  # MIS
        (Importance("sequence", 0.5, 3.0, "mask"), [2, 2, 2.45, 2.45, 2.45], [0] * 5, [0, 0]),
        (Importance("geometric", 0.75, 1.4, "mask"), [0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0]),  # rejection
        (Importance("geometric", 0.5, 2.0, "mask"), [1] * 5, [0] * 5, [0, 0]),
    ],
    ids=str,
)
def test_by_hand(correction, weights, outside, sequences, gaps):
    loss, slope, diagnostics = gradient(gaps_batch(gaps), correction)
    name = "importance_masked" if correction.outside == "mask" else "importance_clipped"
    assert diagnostics["importance"].tolist() == pytest.approx(weights)
    assert diagnostics[name].tolist() == outside
    assert diagnostics[f"{name}/sequences"].tolist() == sequences
    expected = [-w * a for w, a in zip(weights, [1, 2, -1, 1, 1], strict=True)]
    assert loss == pytest.approx(expected)
    assert slope == pytest.approx(expected), "weights are constants"


def test_the_ratio_is_of_the_policy_before_the_update():
    """A ratio that the update itself has moved is PPO's to clip: decoupled PPO."""
    batch = ragged([3], old=logs(1, 1, 1), advantages=[1, 1, 1], rollout_logprobs=logs(1, 3, 0.5))
    logprobs = torch.tensor(logs(1.1, 1.1, 1.5), dtype=torch.float64)
    loss, diagnostics = policy_objective(logprobs, None, batch, Objective(importance=Importance(high=1.5)))
    assert diagnostics["importance"].tolist() == pytest.approx([1, 1 / 3, 1.5])
    # π_old/μ · min(π_θ/π_old · A, clip(π_θ/π_old) · A)
    assert loss.tolist() == pytest.approx([-1.1, -1.1 / 3, -1.5 * 1.2])


def test_regularisers_are_not_weighed():
    batch = ragged([1], old=[0], advantages=[1], ref=[-1], rollout_logprobs=[-9])
    correction = Importance(low=0.5, high=2.0, outside="mask")
    knobs = Objective(importance=correction, kl_coef=1.0, kl_in="loss", kl_estimator="k2", entropy_coef=0.1)
    loss, _ = policy_objective(torch.zeros(1), torch.ones(1), batch, knobs)
    assert loss.tolist() == pytest.approx([0.5 - 0.1])


@pytest.mark.parametrize("level", ["sequence", "geometric"])
@pytest.mark.parametrize("low", [0.0, 0.5])
def test_products_over_long_sequences_stay_finite(level, low):
    batch = ragged([5000, 5000], advantages=[1.0] * 10_000, rollout_logprobs=[-1.0] * 5000 + [1.0] * 5000)
    knobs = Objective(importance=Importance(level, low, 2.0, "mask"))
    loss, diagnostics = policy_objective(torch.zeros(10_000, dtype=torch.float64), None, batch, knobs)
    assert bool(loss.isfinite().all())
    is_low_out = 1.0 if low else 0.0  # e^-5000 is within [0, 2], and so is e^-1
    assert diagnostics["importance_masked/sequences"].tolist() == [1.0, is_low_out]


# Against verl 0.9.1, as installed


@settings(max_examples=60, deadline=None)
@given(LENGTHS, SEEDS, st.sampled_from([(0.5, 5.0), (0.9, 1.1), (0.8, 1.0)]), KINDS)
def test_importance_is_verls(actions, seed: int, bounds: tuple[float, float], kind: tuple[str, str]):
    helper = pytest.importorskip("verl.trainer.ppo.rollout_corr_helper")
    batch, (level, outside), (low, high) = random_batch(seed, actions), kind, bounds
    if level == "geometric":
        low = 1 / high  # verl bounds the inverse ratio, which is the same for bounds that are inverses
    correction = Importance(level, 0.0 if outside == "clip" else low, high, outside)  # type: ignore[arg-type]
    _, ours = policy_objective(batch.old_A, None, batch, Objective(importance=correction))
    assume(bool(ours["importance"].any()))  # verl divides by zero where nothing is left
    gap = padded(batch.old_A - batch.rollout_logprobs_A, batch)
    if level == "geometric":
        kept, said = helper.compute_rollout_rejection_mask(gap, mask(batch), "seq_mean_k1", f"{low}_{high}")
        share = said["rollout_rs_masked_fraction"]
    else:
        threshold = f"{low}_{high}" if outside == "mask" else high
        kept, said = helper.compute_rollout_correction_weights(gap, mask(batch), level, threshold)
        # Of a clip verl counts tokens at the token level, and sequences at the sequence level.
        share = said.get("rollout_is_oob_ratio", said["rollout_is_ratio_fraction_high"])
    torch.testing.assert_close(ours["importance"], flat(kept.double(), batch), rtol=1e-6, atol=1e-6)
    name = "importance_masked" if outside == "mask" else "importance_clipped"
    name += "/sequences" if (level, outside) == ("sequence", "clip") else ""
    assert float(ours[name].mean()) == pytest.approx(share, abs=1e-6)
    if level != "geometric":
        report = add_sample_size({name: float(values.mean()) for name, values in ours.items()})
        assert report["importance"] == pytest.approx(said["rollout_is_mean"], rel=1e-5)
        assert report["importance_ess"] == pytest.approx(said["rollout_is_eff_sample_size"], rel=1e-4)


# Against TRL


def trl_ratio(gap_NL: Tensor, mask_NL: Tensor, mode: str, low: float | None, high: float | None) -> Tensor:
    """[N, L] or [N, 1]: what GRPOTrainer of TRL (1.10) multiplies its terms by, written anew from its
    `vllm_importance_sampling_mode`, `vllm_importance_sampling_clip_min` and `…_clip_max`."""
    difference = gap_NL * mask_NL
    if mode.startswith("sequence"):
        difference = difference.sum(dim=-1, keepdim=True)
    ratio = difference.exp()
    if mode.endswith("truncate"):
        return ratio.clamp(min=low, max=high)
    is_outside = (ratio < (-math.inf if low is None else low)) | (ratio > (math.inf if high is None else high))
    return ratio.masked_fill(is_outside, 0.0)


@settings(max_examples=80, deadline=None)
@given(LENGTHS, SEEDS, BOUNDS, st.sampled_from(["token", "sequence"]), st.sampled_from(["clip", "mask"]))
def test_importance_is_trls(actions, seed: int, bounds: tuple[float, float | None], level, outside):
    batch, (low, high) = random_batch(seed, actions), bounds
    weights, _ = importance_weights(batch.old_A, batch, Importance(level, low, high, outside))
    gap = padded(batch.old_A - batch.rollout_logprobs_A, batch)
    mode = f"{level}_{'truncate' if outside == 'clip' else 'mask'}"
    theirs = trl_ratio(gap, mask(batch), mode, low or None, high)
    torch.testing.assert_close(weights, flat(theirs.expand_as(gap), batch), rtol=1e-9, atol=1e-12)


# Properties


@settings(max_examples=60, deadline=None)
@given(LENGTHS, SEEDS, BOUNDS, KINDS)
def test_weights_keep_their_bounds_and_agreement_changes_nothing(actions, seed: int, bounds, kind):
    batch, (low, high), (level, outside) = random_batch(seed, actions), bounds, kind
    correction = Importance(level, low, high, outside)
    weights, is_outside = importance_weights(batch.old_A, batch, correction)
    inside = weights[~is_outside]
    assert bool((weights >= (0.0 if outside == "mask" else low)).all())
    assert bool((inside >= low - 1e-9).all() and (inside <= (high or math.inf) + 1e-9).all())
    if outside == "mask":
        assert not weights[is_outside].any()
    if level != "token":
        for row in weights.split(batch.actions_N.tolist()):
            assert row.unique().numel() == 1, "one weight a sequence"
    # Where trainer and engine agree nothing is weighed and nothing left out.
    weights, is_outside = importance_weights(
        batch.rollout_logprobs_A, batch.add(old=batch.rollout_logprobs_A), correction
    )
    assert weights.tolist() == [1.0] * len(weights)
    assert not is_outside.any()


@settings(max_examples=60, deadline=None)
@given(LENGTHS, SEEDS, BOUNDS, KINDS, st.randoms(use_true_random=False))
def test_weights_and_metrics_do_not_depend_on_the_cut(actions, seed: int, bounds, kind, random):
    """Micro-batches in any order, their metrics added up as the ranks' shares are."""
    batch, correction = random_batch(seed, actions), Importance(kind[0], *bounds, kind[1])
    weights, outside = importance_weights(batch.old_A, batch, correction)
    whole = {name: float(x.mean()) for name, x in diagnose_importance(weights, outside, batch, correction).items()}
    order = list(range(len(actions)))
    random.shuffle(order)
    cut, total = random.randint(0, len(order)), dict.fromkeys(whole, 0.0)
    for part in filter(None, (order[:cut], order[cut:])):
        micro, rows = take(batch, part)
        micro_weights, micro_outside = importance_weights(micro.old_A, micro, correction)
        torch.testing.assert_close(micro_weights, weights[rows], rtol=1e-12, atol=0)
        for name, values in diagnose_importance(micro_weights, micro_outside, micro, correction).items():
            total[name] += float(values.sum()) / (len(actions) if name.endswith("/sequences") else sum(actions))
    assert add_sample_size(total) == pytest.approx(add_sample_size(whole))


def test_the_effective_sample_size():
    def size(*weights: float) -> float:
        mean, second = (sum(w**k for w in weights) / len(weights) for k in (1, 2))
        return add_sample_size({"importance": mean, "importance_squared": second})["importance_ess"]

    assert size(1, 1, 1, 1) == size(3, 3) == 1.0
    assert size(1, 0, 0, 0) == 0.25
    assert size(0, 0) == 0.0
    assert size(1, 3) == pytest.approx(16 / 20)
    assert add_sample_size({"loss": 1.0}) == {"loss": 1.0}, "without a correction there is none"
