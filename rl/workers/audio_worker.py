"""Audio in a trainer's rank: features of clips from a frozen encoder, for every role, and, before the encoder is frozen,
its own training on labels.

Suffixes: N clips, L labels, P encoder frames, D encoder width, S samples.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from models.augment import AugmentConfig, augment_clip
from rl.audio import waveform
from rl.finite import NonFiniteError
from rl.types import Batch, Clip
from rl.workers.adapter_worker import AdapterWorker
from rl.workers.audio_features import CACHE_BYTES
from rl.workers.diagnosis import check_weights
from rl.workers.freed_memory import frees_memory
from rl.workers.offload import brings_states_back
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer_config import TrainerConfig

if TYPE_CHECKING:
    from ray import ObjectRef
    from torch import Tensor, nn

    from models.hearing import Hearing
    from models.settings import Dtype, ModelConfig

CLIPS_AT_ONCE = 64  # padded to the longest of them: it bounds the encoder's memory
TOKENIZER_FILES = (
    "tokenizer",
    "special_tokens",
    "chat_template",
    "vocab",
    "merges",
    "added_tokens",
    "processor",
    "preprocessor",
)
"""Beginnings of the names of files that a tokenizer or audio processor is read from."""


class AudioWorker(AdapterWorker):
    """A trainer's rank that computes features of clips, with the encoder of the module it trains or a borrowed one."""

    borrowed_hearing: Hearing | None = None
    features_by_handle: dict[str, Tensor]
    """Cache of `clip_tensors`, by the names of handles: a handle itself would hold what the driver has dropped in the
    object store. Beyond CACHE_BYTES it is emptied before the next micro-batch, and so it is when a model is loaded."""

    @frees_memory
    def wrap(
        self, make: Callable[[], nn.Module], dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig
    ) -> None:
        """Build the DeepSpeed engine anew around the module that `make` returns. Collective."""
        self.features_by_handle = {}
        super().wrap(make, dtype, trainer, optimizer)

    @frees_memory
    def borrow_encoder(self, path: str, dtype: Dtype) -> str:
        """Load the frozen audio encoder of the model at `path`, and nothing else of it; return `encoder_digest()`.
        Raises ValueError for a model of text only."""
        from models.heads import load_hearing

        self.borrowed_hearing = load_hearing(path, dtype)
        assert self.borrowed_hearing.encoder is not None
        self.borrowed_hearing.encoder.to(self.device)
        return self.encoder_digest()

    def encoder_digest(self) -> str:
        """Return a digest of the audio encoder's weights; empty for a model of text only."""
        hearing: Hearing | None = self.borrowed_hearing or self.deepspeed.module.hearing
        if hearing is None:
            return ""
        assert hearing.encoder is not None, "a critic has no encoder"
        digest = hashlib.blake2b(digest_size=16)
        for tensor in hearing.encoder.state_dict().values():
            digest.update(tensor.cpu().float().numpy().tobytes())  # as float32: numpy has no bfloat16
        return digest.hexdigest()

    @frees_memory
    def encode(self, clips: Sequence[Clip]) -> list[tuple[ObjectRef[Tensor], int]]:
        """Return (handle of the features [P, D], their bytes) of each clip. Raises ValueError for a model of text only
        and for a clip that cannot be decoded."""
        import ray

        module: Any = self.deepspeed.module if self.borrowed_hearing is None else self.borrowed_hearing  # both `encode`
        if self.borrowed_hearing is None and module.hearing is None:
            raise ValueError("the data has audio, and the model reads text only; use one that listens")
        handles: list[tuple[ObjectRef[Tensor], int]] = []
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            features: list[Tensor] = module.encode([waveform(clip) for clip in clips[start : start + CLIPS_AT_ONCE]])
            for features_PD in features:
                # Cloned: a view of the padded batch would be pickled with all of it.
                handle = ray.put(features_PD.cpu().clone())
                handles.append((handle, features_PD.numel() * features_PD.element_size()))
        return handles

    def clip_tensors(self, batch: Batch) -> list[Tensor]:
        """Return a tensor for each clip of the batch, in order: encoder features [P, D] where `batch.clips_N` holds
        their handles (see `rl.workers.audio_features`), or waves [S] where it holds clips, for an encoder that trains."""
        import ray
        import torch

        clips_or_handles = cast("list[Clip | ObjectRef[Tensor]]", [item for items in batch.clips_N for item in items])
        cache = self.features_by_handle
        if sum(features.nbytes for features in cache.values()) > CACHE_BYTES:
            cache.clear()
        distinct = dict.fromkeys(clips_or_handles)  # the samples of a group share their clips
        waves = {clip: torch.tensor(waveform(clip)) for clip in distinct if isinstance(clip, Clip)}
        missing = {item.hex(): item for item in distinct if not isinstance(item, Clip) and item.hex() not in cache}
        cache |= dict(zip(missing, ray.get([*missing.values()]), strict=True))
        return [waves[x] if isinstance(x, Clip) else cache[x.hex()] for x in clips_or_handles]


class LanguageModelWorker(AudioWorker):
    """A rank whose module has an `lm`, the language model that it exports."""

    def wrap(
        self, make: Callable[[], nn.Module], dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig
    ) -> None:
        """Build the DeepSpeed engine anew around the module that `make` returns, without a borrowed encoder.
        Collective."""
        self.borrowed_hearing = None
        super().wrap(make, dtype, trainer, optimizer)

    def keep_tokenizer(self, path: str, think: bool | None) -> None:
        """Hold the tokenizer's files in memory for `export`: the checkpoint they lie in may be deleted before that.
        `think` is the recipe's `model.think`."""
        self.think = think
        files = [file for file in Path(path).iterdir() if file.name.startswith(TOKENIZER_FILES) and file.is_file()]
        self.tokenizer = {file.name: file.read_bytes() for file in files}

    def export(self, folder: str) -> None:
        """Write a Hugging Face model folder, tokenizer included, that engines prompt and stop as training did. Collective;
        the first rank writes."""
        state: dict[str, Tensor] = {}
        for name, tensor in self.merged_parameters():  # on every rank: gathering is collective
            if name.startswith("lm.") and self.rank == 0:
                # Cloned: under ZeRO-3 the whole tensor is gone when the next one is asked for, and `.cpu()` of one
                # that lies on the CPU is the tensor itself.
                state[name.removeprefix("lm.")] = tensor.cpu().clone()
        if self.rank:
            return
        from models.load import save_model
        from rl.workers.exported_chat import write_chat

        save_model(self.deepspeed.module.lm, folder, state)
        for name, content in self.tokenizer.items():
            (Path(folder) / name).write_bytes(content)
        write_chat(Path(folder), self.think)

    def export_adapter(self, folder: str) -> None:
        """Write the adapter alone, in peft's format. Collective; the first rank writes."""
        from models.lora import adapter_name, save_adapter

        state: dict[str, Tensor] = {}
        for name, tensor in self.trained_parameters():  # on every rank: gathering is collective
            if self.rank == 0:
                state[adapter_name(name.removeprefix("lm."))] = tensor.cpu().clone()
        if self.rank == 0:
            save_adapter(self.deepspeed.module.lm, folder, state)

    def save_model(self, folder: str) -> None:
        """Write what a checkpoint holds of the model: an adapter alone where that is what trains. Collective."""
        if self.lora:
            self.export_adapter(folder)
        else:
            self.export(folder)

    def load_encoder(
        self, path: str, model: ModelConfig, trainer: TrainerConfig, optimizer: OptimizerConfig, classes: Sequence[int]
    ) -> None:
        """Build the DeepSpeed engine anew around the audio encoder of the model at `path` and a linear head per label,
        with so many `classes` each. Collective."""
        from models.labels import LabelledEncoder

        self.keep_tokenizer(path, model.thinks)
        self.lora = None  # the encoder's own weights train
        # Under ZeRO-3 every call of a module gathers its weights, and ranks, whose clips differ in length, call the
        # encoder differently often: they would wait for each other for ever. So weights stay whole here.
        trainer = replace(trainer, zero_stage=min(trainer.zero_stage, 2), sequence_parallel=1)
        self.wrap(lambda: LabelledEncoder(path, model.dtype, classes), model.dtype, trainer, optimizer)

    @frees_memory
    @brings_states_back
    def fit_encoder(
        self,
        clips: Sequence[Clip],
        targets: Sequence[Sequence[int]],
        pairs: int,
        rate: float,
        augment: AugmentConfig | None,
        seeds: Sequence[tuple[int, int]],
    ) -> dict[str, float]:
        """Take one optimiser step on this rank's clips and return its share of the metrics. `targets` [N][L] are
        class indices, `pairs` counts the labels of the whole step, over which the loss is a mean; `seeds` [N] draw how
        each clip is changed. Collective."""
        import torch

        waves = [waveform(clip) for clip in clips]
        if augment:
            generators = [np.random.default_rng(seed) for seed in seeds]
            waves = [augment_clip(wave, augment, random) for wave, random in zip(waves, generators, strict=True)]
        self.deepspeed.train()
        for group in self.deepspeed.optimizer.param_groups:
            group["lr"] = rate
        loss_NL, _ = self.deepspeed(waves, torch.tensor(targets))
        # An absent label's loss is 0 (`models.labels`), and so is all that a rank without clips of its own adds.
        scalar = loss_NL.sum() / pairs
        self.deepspeed.backward(scalar * self.world, scale_wrt_gas=False)  # as in `TrainerWorker.optimise`
        self.deepspeed.step()
        report = {"loss": float(scalar.detach()), "grad_norm": self._norm()}
        self._check_encoder_step(report, loss_NL.detach())
        return report

    def _check_encoder_step(self, report: dict[str, float], loss_NL: Tensor) -> None:
        """Raise NonFiniteError where the step met or made a number that is none."""
        import torch

        for i, loss_L in enumerate(loss_NL):
            if not bool(torch.isfinite(loss_L).all()):
                raise NonFiniteError(f"the loss of clip {i + 1} of {len(loss_NL)} is {loss_L.tolist()}", is_update=True)
        if not (math.isfinite(report["grad_norm"]) or self.deepspeed.fp16_enabled()):
            raise NonFiniteError("the gradient of the encoder is not finite", is_update=True)
        check_weights(self.deepspeed.module)

    @frees_memory
    def classify(self, clips: Sequence[Clip], targets: Sequence[Sequence[int]]) -> list[list[bool]]:
        """Return, for each clip and label [N][L], whether the likeliest class is the target. Collective."""
        import torch

        self.deepspeed.eval()
        correct: list[list[bool]] = []
        with torch.no_grad():
            for start in range(0, len(clips), CLIPS_AT_ONCE):
                waves = [waveform(clip) for clip in clips[start : start + CLIPS_AT_ONCE]]
                _, correct_NL = self.deepspeed(waves, torch.tensor(targets[start : start + CLIPS_AT_ONCE]))
                correct += correct_NL.tolist()
        return correct
