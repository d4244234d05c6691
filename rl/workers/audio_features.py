"""Features of clips: computed once by the policy's frozen audio encoder, and read by every role.

A clip comes back with each of its 16 samples, each epoch, and for policy, critic and reference alike; its features,
taken before the adapter (which trains), are the same every time as long as the encoder is frozen. Where the encoder
trains, the policy is sent the clips themselves; the critic reads the features that the encoder gave at the start of
the step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.audio import fingerprint
from rl.types import Batch, Clip
from rl.workers.storage import Storage
from rollouts.remote import Actor, fetch

if TYPE_CHECKING:
    from ray import ObjectRef
    from torch import Tensor

CACHE_BYTES = 512 << 20
"""Size up to which features stay in the object store, and copies of them in each rank, beyond what the present batch
needs."""


class AudioFeatures:
    """The clips' features as the driver sees them: handles into the object store, by the clip's fingerprint.

    `actors` are the policy's ranks, or others that can encode. Features stay until the encoder changes or space is
    short; the longest unused go first. `clips_requested` and `clips_encoded` count over the object's life."""

    def __init__(self, actors: Sequence[Actor], storage: Storage | None = None) -> None:
        self.actors, self.storage = list(actors), storage or Storage()
        # name → (handle, bytes), the longest unused first. The handle stands for a clip in `Batch.clips_N`.
        self.features: OrderedDict[str, tuple[ObjectRef[Tensor], int]] = OrderedDict()
        self.names: dict[Clip, str] = {}
        self.encoder = ""
        """Digest of the encoder that gave the features; empty where none has been named."""
        self.clips_requested = self.clips_encoded = 0

    def use_encoder(self, digest: str) -> None:
        """Drop the features, unless this encoder gave them: the policy has it from now on."""
        if digest != self.encoder:
            self.features.clear()
            self.encoder = digest

    def forget_encoder(self) -> None:
        """Drop the features: the encoder has learned and would give others now."""
        self.features.clear()
        self.encoder = ""

    def borrow_encoder(self, path: str | Path, dtype: str) -> None:
        """Let the actors load the encoder of the model at `path`, where no policy has brought one."""
        if not self.encoder:
            self.storage.deliver(path)
            self.use_encoder(fetch([actor.borrow_encoder.remote(str(path), dtype) for actor in self.actors])[0])

    def replace_clips(self, batch: Batch) -> Batch:
        """Return the batch with the handle of its features in place of every clip."""
        if not any(batch.clips_N):
            return batch
        names_N = [[self._name(clip) for clip in clips] for clips in batch.clips_N]
        clip_of = {
            name: clip
            for names, clips in zip(names_N, batch.clips_N, strict=True)
            for name, clip in zip(names, clips, strict=True)
        }
        self.clips_requested += sum(map(len, names_N))
        self._encode({name: clip for name, clip in clip_of.items() if name not in self.features})
        for name in clip_of:
            self.features.move_to_end(name)
        handles_N: Any = tuple(tuple(self.features[name][0] for name in names) for names in names_N)
        self._evict(len(clip_of))
        return replace(batch, clips_N=handles_N)

    def _name(self, clip: Clip) -> str:
        if clip not in self.names:
            self.names[clip] = fingerprint(clip)
        return self.names[clip]

    def _encode(self, missing: dict[str, Clip]) -> None:
        if not missing:
            return
        names, ranks = list(missing), len(self.actors)
        # Shares may differ, or be empty: the encoder is whole on every rank, so that no call of it is collective.
        shares = [names[rank::ranks] for rank in range(ranks)]
        calls = [
            actor.encode.remote([missing[name] for name in share])
            for actor, share in zip(self.actors, shares, strict=True)
        ]
        for share, handles in zip(shares, fetch(calls), strict=True):
            self.features.update(zip(share, handles, strict=True))
        self.clips_encoded += len(missing)

    def _evict(self, present: int) -> None:
        """Drop the longest unused features beyond CACHE_BYTES, but never those of the `present` batch."""
        total = sum(size for _, size in self.features.values())
        # Those of the present batch were moved to the end just before: all that come first are others.
        while total > CACHE_BYTES and len(self.features) > present:
            _, (_, size) = self.features.popitem(last=False)
            total -= size
        # A clip has its bytes with it: it is remembered for as long as its features.
        self.names = {clip: name for clip, name in self.names.items() if name in self.features}
