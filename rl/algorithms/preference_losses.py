"""Preference losses: a term for each pair of a chosen and a rejected answer to the same prompt.

Shape legend: P pairs, N = 2P sequences (chosen, rejected, chosen, rejected, …), A actions of all sequences laid end to
end. A margin [P] is positive where the chosen answer ranks higher. Written with tensor methods alone, so that importing it
needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rl.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Preference:
    """Settings of learning from preference pairs."""

    loss: Literal["dpo", "ipo"] = "dpo"
    """DPO's loss (arXiv 2305.18290) on whole answers, or IPO's (arXiv 2310.12036) on means over an answer's tokens."""
    beta: float = 0.1
    """Strength of the pull towards the reference: DPO's β, IPO's τ. IPO aims at a margin of 1 / 2β nats per token."""
    label_smoothing: float = 0.0
    """Share of the pairs that are assumed to be labelled the wrong way round (DPO only; https://ericmitchell.ai/cdpo.pdf)."""

    def validate(self, place: str) -> None:
        """Raise ConfigError where a field is out of bounds."""
        for name, ok, fix in (
            ("beta", self.beta > 0, "it must be above 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 0.5, "it must lie in [0, 0.5)"),
            (
                "label_smoothing",
                not self.label_smoothing or self.loss == "dpo",
                "only loss: dpo smooths labels; remove it",
            ),
        ):
            if not ok:
                raise ConfigError(f"{place}.{name}: got {getattr(self, name)}; {fix}")


def preference_loss(
    logprobs_A: Tensor, ref_A: Tensor, actions_N: Tensor, preference: Preference
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return terms [P] that carry the gradient of `logprobs_A`, and diagnostics [P] without it: the implicit rewards
    β log(policy / reference) of both answers, with IPO in the mean over their tokens, as the loss has them; their
    `margin`, 1 where the chosen one ranks higher (`accuracy`; a tie is 0.5), and the log-probabilities of both whole
    answers."""
    # [N] log-probability of each whole answer, and its log ratio to the reference. Even rows are the chosen answers.
    logprobs_N = sequence_sums(logprobs_A, actions_N)
    log_ratio_N = logprobs_N - sequence_sums(ref_A, actions_N)
    if preference.loss == "ipo":
        # Not in the paper's formula, but what its authors computed: they confirmed it to TRL, whose `ipo` does the same.
        # Sums would aim at one and the same margin, 1 / 2β, for an answer of five tokens and for one of five thousand.
        log_ratio_N = log_ratio_N / actions_N
    margins_P = log_ratio_N[0::2] - log_ratio_N[1::2]
    if preference.loss == "ipo":
        loss_P = ipo(margins_P, preference.beta)
    else:
        loss_P = dpo(margins_P, preference.beta, preference.label_smoothing)
    # DPO's implicit reward, up to a constant of the prompt that cancels in the margin (arXiv 2305.18290, eq. 5).
    rewards_N, logprobs_N = preference.beta * log_ratio_N.detach(), logprobs_N.detach()
    return loss_P, {
        "margin": rewards_N[0::2] - rewards_N[1::2],
        "accuracy": pair_accuracy(margins_P),
        "reward/chosen": rewards_N[0::2],
        "reward/rejected": rewards_N[1::2],
        "logprob/chosen": logprobs_N[0::2],
        "logprob/rejected": logprobs_N[1::2],
    }


def dpo(margins_P: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Return [P] -(1 - ε) log σ(β margin) - ε log σ(-β margin). The margin is log(policy / reference) of the chosen
    answer minus that of the rejected one: Rafailov et al. 2023, arXiv 2305.18290, eq. 7; ε > 0 is conservative DPO, Mitchell 2023,
    https://ericmitchell.ai/cdpo.pdf, eq. 3."""
    scaled_P = beta * margins_P
    return (1 - label_smoothing) * bradley_terry(scaled_P) + label_smoothing * bradley_terry(-scaled_P)


def ipo(margins_P: Tensor, beta: float) -> Tensor:
    """Return [P] (margin - 1 / 2β)²: Azar et al. 2023, arXiv 2310.12036, eq. 17, with β for its τ. The margin is between
    means over the answers' tokens."""
    # Unlike DPO's, this loss grows again beyond its target margin, so the policy cannot lower it by drifting away.
    return (margins_P - 1 / (2 * beta)).square()


def bradley_terry(margins_P: Tensor) -> Tensor:
    """Return [P] -log σ(margin), where the margin is the chosen answer's reward minus the rejected one's: Ouyang et al.
    2022, arXiv 2203.02155, eq. 1; Bradley and Terry 1952."""
    # -log σ(m) = log(e^0 + e^-m), which does not overflow for a very negative m.
    return margins_P.new_zeros(margins_P.shape).logaddexp(-margins_P)


def pair_accuracy(margins_P: Tensor) -> Tensor:
    """Return [P] 1 where the chosen answer ranks higher, 0.5 at a tie, else 0; without gradient."""
    return 0.5 * (margins_P.detach().sign() + 1)


def sequence_sums(values_A: Tensor, actions_N: Tensor) -> Tensor:
    """Return [N] each sequence's sum over its actions."""
    sequence_A = (actions_N.new_ones(len(actions_N)).cumsum(0) - 1).repeat_interleave(actions_N)
    return values_A.new_zeros(len(actions_N)).index_add(0, sequence_A, values_A)
