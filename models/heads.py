"""Defines the modules that trainers wrap: a causal LM that gives logprobs (policy, reference) or values (critic).

Both take a pack (sequences end to end, see `models.attention`) and answer at the actions only: the head runs on no
prompt token. The hidden state that predicts action i is the one at the token before it. With a `sequence_group` its ranks
share the tokens of a pack, and all have the answers of all actions.

Where prompts have audio, `tokens_T` are the expanded ids that the engine used, and `sounds` the pack's clips in order:
encoder features [P, D] of a frozen encoder (see `models.hearing`), or waves [S] when the encoder trains.

Suffixes: T tokens of a pack, S those of a rank's share (of a wave: samples), N sequences, A actions, a those of a rank's
share, H hidden size, P encoder frames, D encoder width.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from models.hearing import Hearing, get_hearing
from models.load import check_finite, empty_model, load_model
from models.logprobs import chunked_logprobs
from models.lora import LoraConfig, adapter_off, attach, load_adapter
from models.sequence_parallel import ALONE, SequenceGroup
from models.settings import Dtype
from models.shards import Shards, make_whole, read_into
from models.supported import logit_cap, logit_divisor
from models.trunk import states_before_actions
from models.varlen import send

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CRITIC_FILE = "critic.safetensors"
"""File with a critic's trunk and head, beside its config.json."""
TRAINED_FILE = "critic_adapter.safetensors"
"""File of a checkpoint of a critic with an adapter, with the parameters that train: the adapter's and the head's."""
SURPRISES = 3
"""Inputs of a critic's head beside the trunk's state: see `surprises_before`."""


class LogprobModel(nn.Module):
    """A causal LM: forward(tokens_T, lengths_N, action_mask_T, temperature, sounds) -> (logprobs_A, entropy_A), float32.

    `hearing` is None for a model of text only. The audio encoder is frozen unless `train_encoder`. With `lora` the decoder is
    too but for a low-rank adapter: a fresh one, or the one in the folder `adapter`."""

    sequence_group: SequenceGroup = ALONE
    """Ranks that share every pack with this one."""

    def __init__(
        self,
        path: str | Path,
        dtype: Dtype,
        gradient_checkpointing: bool = False,
        train_encoder: bool = False,
        lora: LoraConfig | None = None,
        adapter: str | None = None,
        shards: Shards | None = None,
    ) -> None:
        super().__init__()
        self.lm = load_model(path, dtype, shards)
        config = self.lm.config.to_dict()
        self.divisor, self.cap = logit_divisor(config), logit_cap(config)
        self.hearing = get_hearing(self.lm)
        if train_encoder and (self.hearing is None or self.hearing.encoder is None):
            raise ValueError(f"model.train_encoder: model {path} reads text only and has no audio encoder; remove it")
        if self.hearing and shards:
            # The encoder stays outside of ZeRO, and the adapter is copied below.
            for part in filter(None, (self.hearing.encoder, self.hearing.adapter)):
                make_whole(part, shards)
        self._frozen_encoder: tuple[str, nn.Module] | None = None
        if self.hearing and self.hearing.encoder and not train_encoder:
            # Removed from the model's modules: as one of them it would be sharded under ZeRO-3, and gathered at every
            # call.
            self._frozen_encoder = _detach_module(self.lm, self.hearing.encoder.requires_grad_(False))
        # Copy of the audio adapter for `start_model`, since the adapter itself trains whole. In a tuple, since torch
        # would register it as a submodule otherwise.
        self._start_adapter: tuple[nn.Module, ...] = ()
        if lora:
            attach(self.lm, lora, self.hearing.adapter if self.hearing else None)
            if self.hearing:
                self._start_adapter = (copy.deepcopy(self.hearing.adapter).requires_grad_(False),)
        if adapter:
            load_adapter(self.lm, adapter)
        if gradient_checkpointing:
            # Reentrant checkpoints give no gradient to a layer whose inputs need none, as behind frozen embeddings.
            self.lm.gradient_checkpointing_enable({"use_reentrant": False})

    def train_adapter_only(self) -> LogprobModel:
        """Freeze all but the audio adapter, and return the model. Raises ValueError for a model of text only."""
        if self.hearing is None:
            raise ValueError("sft.train: adapter, and the model reads text only: it has none; remove the key")
        self.requires_grad_(False)
        self.hearing.adapter.requires_grad_(True)
        return self

    def frozen_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, weight) of the frozen audio encoder, which `named_parameters` leaves out."""
        if self._frozen_encoder:
            name, encoder = self._frozen_encoder
            yield from ((f"lm.{name}.{inner}", weight) for inner, weight in encoder.named_parameters())

    def _apply(self, *args: Any, **kwargs: Any) -> LogprobModel:
        if self._frozen_encoder:  # so that `.to(device)` and the like move it too
            self._frozen_encoder[1]._apply(*args, **kwargs)
        for adapter in self._start_adapter:
            adapter._apply(*args, **kwargs)
        return super()._apply(*args, **kwargs)

    @contextmanager
    def start_model(self) -> Generator[None]:
        """Compute in the block as the model to which the adapter was attached: with the adapter off, and with the audio
        adapter as it was then."""
        hearing = self.hearing
        try:
            if hearing and self._start_adapter:
                self.hearing = replace(hearing, adapter=self._start_adapter[0])
            with adapter_off(self):
                yield
        finally:
            self.hearing = hearing

    @torch.no_grad()
    def encode(self, waves: Sequence[np.ndarray]) -> list[Tensor]:
        """Return features [P, D] of each clip (16 kHz mono), for `sounds`: the same as long as the encoder is frozen."""
        assert self.hearing, "a model of text only has no encoder"
        return self.hearing.encode(waves)

    def forward(
        self,
        tokens_T: Tensor,
        lengths_N: Tensor,
        action_mask_T: Tensor,
        temperature: float = 1.0,
        sounds: Sequence[Tensor] = (),
        groups_N: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (logprobs_A, entropy_A), both float32. Sequences of one of `groups_N` have the same prompt, clips
        included, which then is computed once."""
        trunk = cast("PreTrainedModel", self.lm.get_decoder())
        pack = tokens_T, lengths_N, action_mask_T
        states_aH, share = states_before_actions(trunk, self.hearing, *pack, sounds, groups_N, self.sequence_group)
        head = cast("nn.Linear", self.lm.get_output_embeddings())
        # Computed within the module that DeepSpeed wraps, since under ZeRO-3 `head.weight` is an empty tensor
        # elsewhere. The model caps logits after dividing them by `divisor`; here the cap applies to the products, so it
        # is scaled.
        cap = self.cap and self.cap * self.divisor
        targets_a = share.select(send(tokens_T[action_mask_T], states_aH.device))
        answers_a = chunked_logprobs(states_aH, head.weight, targets_a, temperature * self.divisor, cap)
        logprobs_A, entropy_A = share.join(*answers_a)
        return logprobs_A, entropy_A


class ValueModel(nn.Module):
    """A critic: forward(tokens_T, lengths_N, action_mask_T, sounds, logprobs_A) -> values_A, float32, one for the state
    before each action.

    The trunk is that of the causal LM at `path`; a folder with an earlier critic's `critic.safetensors` gives trunk and
    head. It has an audio adapter of its own, and no encoder: it reads the features of the policy's.

    The head reads the trunk's state and how surprising the actions before it were to the policy that sampled them. A chain
    of thought mostly goes wrong at an improbable token, which the trunk alone is slow to learn: see docs/learning.md.

    With `lora` the trunk is frozen but for a low-rank adapter; the folder `trained` has a checkpoint of what trains."""

    sequence_group: SequenceGroup = ALONE
    """Ranks that share every pack with this one."""

    def __init__(
        self,
        path: str | Path,
        dtype: Dtype,
        gradient_checkpointing: bool = False,
        lora: LoraConfig | None = None,
        trained: str | None = None,
        shards: Shards | None = None,
    ) -> None:
        super().__init__()
        file = Path(path) / CRITIC_FILE
        lm = empty_model(path, dtype, shards) if file.exists() else load_model(path, dtype, shards)
        if gradient_checkpointing:
            lm.gradient_checkpointing_enable({"use_reentrant": False})
        self.config = lm.config
        self.trunk = cast("PreTrainedModel", lm.get_decoder())
        self.hearing = None
        if hearing := get_hearing(lm):
            self.hearing, self.adapter = replace(hearing, encoder=None), hearing.adapter
            if shards:
                make_whole(self.adapter, shards)
        self.head = nn.Linear(lm.config.get_text_config().hidden_size + SURPRISES, 1, dtype=self.trunk.dtype)
        nn.init.zeros_(self.head.weight)  # values start at 0, so the first advantages are plain returns
        nn.init.zeros_(self.head.bias)
        if file.exists() and shards:
            read_into(self, file, shards)
        elif file.exists():
            try:
                self.load_state_dict(safetensors.torch.load_file(file))
            except (SafetensorError, RuntimeError) as error:
                reason = str(error).splitlines()[-1].strip()
                raise ValueError(f"critic {file}: {reason}; expected one of the shape in its config.json") from error
            check_finite(f"critic {file}", self)
        if lora:
            attach(lm, lora, self.hearing.adapter if self.hearing else None)
        if trained:
            self._load_trained(Path(trained) / TRAINED_FILE)

    def _load_trained(self, file: Path) -> None:
        """Read the parameters that train from the file. Raises ValueError if the file has others, or other shapes."""
        tensors = safetensors.torch.load_file(file)
        trains = {name: weight for name, weight in self.named_parameters() if weight.requires_grad}
        if {n: w.shape for n, w in tensors.items()} != {n: w.shape for n, w in trains.items()}:
            raise ValueError(f"{file}: of other targets or another rank; resume with the model.lora that wrote it")
        with torch.no_grad():
            for name, weight in trains.items():
                weight.copy_(tensors[name])

    def save_config(self, folder: str | Path) -> None:
        """Write the config.json that a folder with `critic.safetensors` needs."""
        self.config.save_pretrained(folder)

    def forward(
        self,
        tokens_T: Tensor,
        lengths_N: Tensor,
        action_mask_T: Tensor,
        sounds: Sequence[Tensor] = (),
        logprobs_A: Tensor | None = None,
        groups_N: Tensor | None = None,
    ) -> Tensor:
        """Return values_A, float32. `logprobs_A` are the sampler's; None where nobody sampled (a reward model)."""
        pack = tokens_T, lengths_N, action_mask_T
        states_aH, share = states_before_actions(self.trunk, self.hearing, *pack, sounds, groups_N, self.sequence_group)
        if logprobs_A is None:
            surprises_a3 = states_aH.new_zeros(len(states_aH), SURPRISES)
        else:
            masks = cast("Sequence[Tensor]", action_mask_T.split(lengths_N.tolist()))
            surprises_A3 = surprises_before(logprobs_A, [int(mask_t.sum()) for mask_t in masks])
            surprises_a3 = share.select(surprises_A3).to(states_aH.dtype)
        return share.join(self.head(torch.cat([states_aH, surprises_a3], dim=1))[:, 0].float())[0]


def surprises_before(logprobs_A: Tensor, actions_N: Sequence[int]) -> Tensor:
    """Return [A, 3] how surprising the actions before each one were, in nats: the one just before it, the most surprising
    of its sequence so far, and log(1 + sum of all so far). 0 at a sequence's first action."""
    pieces: list[Tensor] = []
    for logprobs_a in cast("Sequence[Tensor]", logprobs_A.split(list(actions_N))):
        before_a = torch.cat([logprobs_a.new_zeros(1), -logprobs_a[:-1]])
        # The logarithm keeps a chain of 10,000 actions within the range of the two others.
        pieces.append(torch.stack([before_a, before_a.cummax(0).values, before_a.cumsum(0).log1p()], dim=1))
    return torch.cat(pieces)


def load_hearing(path: str | Path, dtype: Dtype) -> Hearing:
    """Return the audio parts of the model at `path`, the encoder frozen and in eval mode; the decoder is dropped. Raises
    ValueError for a model of text only."""
    hearing = get_hearing(load_model(path, dtype))
    if hearing is None or hearing.encoder is None:
        raise ValueError(f"model {path} reads text only: it has no audio encoder to hear with; use one that listens")
    hearing.encoder.requires_grad_(False).eval()
    return hearing


def _detach_module(model: nn.Module, part: nn.Module) -> tuple[str, nn.Module]:
    """Remove `part` from the model's modules; return (its name in the model, part)."""
    modules = cast("Iterator[tuple[str, nn.Module]]", model.named_modules())
    name = next(name for name, module in modules if module is part)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, None)
    return name, part
