"""What the audio encoder makes of each clip: computed once, by the policy's ranks, and read by every role.

A clip comes back with each of its 16 samples, each epoch, and for policy, critic and reference alike; its features,
taken before the adapter (which trains), are the same every time as long as the encoder is frozen. Where it trains, the
policy is sent the clips themselves; the critic hears what the encoder made of them at the start of the step.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rl.audio import fingerprint
from rl.types import Batch, Clip
from rollouts.remote import fetch

MOST_BYTES = 512 << 20
"""Of features kept in the object store beyond what the present batch needs."""


class Sounds:
    """Lives in the driver; `actors` are the policy's ranks, or others that `hear`. Features stay until the encoder
    changes or room is short, the longest unused first. `asked` and `encoded` count clips."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self.actors = list(actors)
        self.features: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self.names: dict[Clip, str] = {}
        self.encoder = ""
        self.asked = self.encoded = 0

    def use(self, encoder: str) -> None:
        """The policy now has the encoder with this digest: what another one made is forgotten."""
        if encoder != self.encoder:
            self.features.clear()
            self.encoder = encoder

    def forget(self) -> None:
        """The encoder has learned: what it made of the clips before is no longer what it makes of them."""
        self.features.clear()
        self.encoder = ""

    def hear(self, path: str | Path, dtype: str) -> None:
        """Where no policy has been loaded, the actors take the encoder of the model at `path`."""
        if not self.encoder:
            self.use(fetch([actor.listen.remote(str(path), dtype) for actor in self.actors])[0])

    def listen(self, batch: Batch) -> Batch:
        """The batch with the handle of its features in place of every clip."""
        if not any(batch.clips_N):
            return batch
        names_N = [[self._name(clip) for clip in clips] for clips in batch.clips_N]
        wanted = {
            name: clip
            for names, clips in zip(names_N, batch.clips_N, strict=True)
            for name, clip in zip(names, clips, strict=True)
        }
        self.asked += sum(map(len, names_N))
        self._encode({name: clip for name, clip in wanted.items() if name not in self.features})
        for name in wanted:
            self.features.move_to_end(name)
        handles_N = tuple(tuple(self.features[name][0] for name in names) for names in names_N)
        self._make_room(len(wanted))
        return replace(batch, clips_N=handles_N)

    def _name(self, clip: Clip) -> str:
        if clip not in self.names:
            self.names[clip] = fingerprint(clip)
        return self.names[clip]

    def _encode(self, missing: dict[str, Clip]) -> None:
        if not missing:
            return
        names, ranks = list(missing), len(self.actors)
        shares = [names[rank::ranks] for rank in range(ranks)]
        calls = [a.encode.remote([missing[n] for n in share]) for a, share in zip(self.actors, shares, strict=True)]
        for share, answer in zip(shares, fetch(calls), strict=True):
            self.features.update(zip(share, answer, strict=True))
        self.encoded += len(missing)

    def _make_room(self, present: int) -> None:
        size = sum(size for _, size in self.features.values())
        while size > MOST_BYTES and len(self.features) > present:
            _, (_, freed) = self.features.popitem(last=False)
            size -= freed
