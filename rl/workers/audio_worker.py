"""The part of a rank that hears: features of a frozen audio encoder for every role, and, before it is frozen, the
encoder's own training on labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.augment import AugmentConfig, augmented
from rl.audio import waveform
from rl.types import Clip
from rl.workers.cuda_cache import frees_cuda_cache
from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer import TrainerConfig, TrainerWorker

if TYPE_CHECKING:
    from models.hearing import PartialVerdict

CLIPS_AT_ONCE = 64
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


class HearingWorker(TrainerWorker):
    """Makes features of clips: with the encoder of the module it trains, or with one that it was lent."""

    ears: PartialVerdict | None = None

    @frees_cuda_cache
    def wrap(self, *arguments: Any) -> None:
        super().wrap(*arguments)

    @frees_cuda_cache
    def listen(self, path: str, dtype: str) -> str:
        """Takes the frozen audio encoder of the model at `path`, and nothing else of it; returns `encoder()`. Raises
        ValueError for a model of text only."""
        from models.heads import ears

        self.ears = ears(path, dtype)  # type: ignore[arg-type]
        self.ears.encoder.to(self.device)
        return self.encoder()

    def encoder(self) -> str:
        """Digest of the audio encoder's weights; empty for a model of text only."""
        hearing = self.ears or self.engine.module.hearing
        digest = hashlib.blake2b(digest_size=16)
        for tensor in hearing.encoder.state_dict().values() if hearing else ():
            digest.update(tensor.cpu().float().numpy().tobytes())
        return digest.hexdigest() if hearing else ""

    @frees_cuda_cache
    def encode(self, clips: Sequence[Clip]) -> list[tuple[Any, int]]:
        """(handle of the features [P, D], their bytes) of each clip. Raises ValueError for a model of text only and for
        a clip that cannot be heard."""
        import ray

        module, kept = self.ears or self.engine.module, list[tuple[Any, int]]()
        if not self.ears and module.hearing is None:
            raise ValueError("the data has audio, and the model reads text only; use one that listens")
        for start in range(0, len(clips), CLIPS_AT_ONCE):
            features = module.encode([waveform(clip) for clip in clips[start : start + CLIPS_AT_ONCE]])
            kept += [(ray.put(each.cpu().clone()), each.numel() * each.element_size()) for each in features]
        return kept


class ListeningWorker(HearingWorker):
    """The module it trains has an `lm`, the model it leaves behind."""

    def wrap(self, *arguments: Any) -> None:
        self.ears = None
        super().wrap(*arguments)

    def keep_tokenizer(self, path: str) -> None:
        """Holds its files in memory, because a checkpoint that was resumed from does not stay for ever."""
        self.tokenizer = {f.name: f.read_bytes() for f in Path(path).iterdir() if f.name.startswith(TOKENIZER_FILES)}

    def export(self, folder: str) -> None:
        """Writes a Hugging Face model folder, tokenizer included. Collective; the first rank writes."""
        state = {
            n.removeprefix("lm."): t.cpu().clone() for n, t in self._gathered() if n.startswith("lm.") and not self.rank
        }
        if self.rank:
            return
        from models.load import save_model

        save_model(self.engine.module.lm, folder, state)
        for name, content in self.tokenizer.items():
            (Path(folder) / name).write_bytes(content)

    def load_encoder(
        self, path: str, dtype: str, trainer: TrainerConfig, optimizer: OptimizerConfig, classes: Sequence[int]
    ) -> None:
        """Rebuilds the engine around the audio encoder of the model at `path` and one head per label. Collective. Under
        ZeRO-3 every call of a module gathers its weights, and ranks, whose clips differ in length, call the encoder
        differently often: weights stay whole here."""
        from models.labels import LabelledEncoder

        self.keep_tokenizer(path)
        trainer = replace(trainer, zero_stage=min(trainer.zero_stage, 2))
        self.wrap(lambda: LabelledEncoder(path, dtype, classes), dtype, trainer, optimizer)  # type: ignore[arg-type]

    @frees_cuda_cache
    def fit_encoder(
        self,
        clips: Sequence[Clip],
        targets: Sequence[Sequence[int]],
        pairs: int,
        rate: float,
        augment: AugmentConfig | None,
        seeds: Sequence[tuple[int, int]],
    ) -> dict[str, float]:
        """One optimiser step on this rank's clips; `pairs` counts the labels of the whole step, over which the loss is a
        mean. Metrics sum over ranks. Collective."""
        import torch

        waves = [waveform(clip) for clip in clips]
        if augment:
            generators = [np.random.default_rng(seed) for seed in seeds]
            waves = [augmented(wave, augment, random) for wave, random in zip(waves, generators, strict=True)]
        self.engine.train()
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        loss_NL, _ = self.engine(waves, torch.tensor(targets))
        scalar = loss_NL.sum() / pairs
        self.engine.backward(scalar * self.world, scale_wrt_gas=False)
        self.engine.step()
        return {"loss": float(scalar.detach()), "grad_norm": self._norm()}

    @frees_cuda_cache
    def classify(self, clips: Sequence[Clip], targets: Sequence[Sequence[int]]) -> list[list[bool]]:
        """[N][L] is the heads' likeliest class the right one? Collective."""
        import torch

        self.engine.eval()
        right: list[list[bool]] = []
        with torch.no_grad():
            for start in range(0, len(clips), CLIPS_AT_ONCE):
                waves = [waveform(clip) for clip in clips[start : start + CLIPS_AT_ONCE]]
                right += self.engine(waves, torch.tensor(targets[start : start + CLIPS_AT_ONCE]))[1].tolist()
        return right
