"""Bytes of a forward and backward pass, counted on tensors without memory: each operator's results, until they are freed."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.load import empty_model
from models.logprobs import chunked_logprobs
from models.sequence_parallel import ALONE
from models.trunk import states_before_actions


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all results that are alive, and their most; what was there before is left out."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self.seen:
            return
        self.seen.add(storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())

    def _free(self, key: int, count: int) -> None:
        self.seen.discard(key)
        self.now -= count


def shaped_model(folder: Path, config: Mapping[str, object], dtype: str, checkpointing: bool, device: str) -> Any:
    """Return a causal LM of the shape in `config`; on `meta`, which stands for a GPU, without memory."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    with torch.device(device):
        model = empty_model(folder, dtype)  # type: ignore[arg-type]
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def peak_bytes(model: Any, sequences: int, length: int, learns: bool = True) -> int:
    """Return the most bytes of a micro-batch's forward and backward (or forward alone), beside weights and their gradients. All
    tokens but each sequence's first are actions."""
    lengths_N = torch.full((sequences,), length)
    tokens_T = torch.zeros(sequences * length, dtype=torch.long)
    action_mask_T = torch.ones(sequences * length, dtype=torch.bool)
    action_mask_T[::length] = False
    head = model.get_output_embeddings().weight
    targets_A = tokens_T[action_mask_T].to(head.device)
    for weight in model.parameters():  # as ZeRO takes a gradient away once it is there
        weight.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
    with PeakMemory([*model.parameters(), *model.buffers()]) as meter, torch.set_grad_enabled(learns):
        # As `models.heads.LogprobModel` does, whose weights are read from files.
        inputs = tokens_T, lengths_N, action_mask_T, (), None
        hidden_AH, _ = states_before_actions(model.get_decoder(), None, *inputs, ALONE)
        logprobs_A, _ = chunked_logprobs(hidden_AH, head, targets_A)
        del hidden_AH
        if learns:
            logprobs_A.sum().backward()
    return meter.peak
