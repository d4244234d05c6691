"""Pretrains an audio encoder on labels of clips, read off its mean frame by one linear head for each label.

End to end from scratch a small model does not learn to use audio (13 % of spoken digits right after 200 s on one core);
with its encoder pretrained this way, then frozen, it does (99 %).

Suffixes: N clips, L labels, P encoder frames, D encoder width, C classes of a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from models.hearing import get_hearing
from models.load import load_model
from models.settings import Dtype

ABSENT = -1
"""Target of a clip that does not have the label."""


class LabelledEncoder(nn.Module):
    """The encoder of the model at `path` with a linear head for each label; only these train.

    forward(waves, targets_NL) -> (loss_NL, correct_NL): the cross-entropy of each clip's labels (0 where absent), and
    whether the likeliest class is the target. Raises ValueError for a model of text only."""

    def __init__(self, path: str | Path, dtype: Dtype, classes: Sequence[int]) -> None:
        super().__init__()
        self.lm = load_model(path, dtype).requires_grad_(False)
        self.hearing = get_hearing(self.lm)
        if self.hearing is None or self.hearing.encoder is None:
            raise ValueError(f"model {path} reads text only: it has no audio encoder to train; use one that listens")
        self.hearing.encoder.requires_grad_(True)
        self.heads = nn.ModuleList([nn.Linear(self.hearing.width, count) for count in classes])
        # The range is nn.Linear's own; the generator makes the heads the same in every process.
        generator, bound = torch.Generator().manual_seed(0), self.hearing.width**-0.5
        for parameter in self.heads.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator)

    def forward(self, waves: Sequence[np.ndarray], targets_NL: Tensor) -> tuple[Tensor, Tensor]:
        """Return (loss_NL, correct_NL)."""
        assert self.hearing
        mean_ND = torch.stack([frames_PD.float().mean(0) for frames_PD in self.hearing.encode(waves)])
        targets_NL = targets_NL.to(mean_ND.device)
        losses: list[Tensor] = []
        correct: list[Tensor] = []
        for head, target_N in zip(self.heads, targets_NL.T, strict=True):
            assert isinstance(head, nn.Linear)
            logits_NC = head(mean_ND.to(head.weight.dtype)).float()
            losses.append(cross_entropy(logits_NC, target_N, ignore_index=ABSENT, reduction="none"))
            correct.append(logits_NC.argmax(-1) == target_N)
        return torch.stack(losses, 1), torch.stack(correct, 1)
