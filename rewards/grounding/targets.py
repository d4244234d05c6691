"""Find the clip or sound that a claim is about, and read quantities off its measurements."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.grounding.acoustics import Acoustics, Sound
from rewards.grounding.claim import Claim

Target = Acoustics | Sound
"""A clip, or a sound in the only clip."""


def parts(clips: Sequence[Acoustics], least: int = 2) -> Sequence[Target]:
    """Return the things that "the second" counts: the clips of a prompt that has several, else the phrases in its clip
    where there are `least`, else the sounds in it."""
    if len(clips) > 1:
        return clips
    return clips[0].phrases if len(clips[0].phrases) >= max(2, least) else clips[0].sounds


def readings(target: Target, quantity: str, moment: str = "") -> list[float]:
    """Return the values that the quantity may have for the target, or at one end of it, the most likely first; empty
    where it has none."""
    sound = target.whole if isinstance(target, Acoustics) else target
    if sound is None:
        return []
    if moment and quantity == "pitch":
        at_start = moment == "start"
        ends = [sound.f0_start_hz if at_start else sound.f0_end_hz]
        if isinstance(target, Acoustics) and len(target.sounds) > 1:  # of several sounds rather the first or the last
            ends.insert(0, target.sounds[0 if at_start else -1].f0_hz)
        return [float(end) for end in ends if end]
    if moment and quantity in ("loudness", "brightness"):
        return []  # only pitch is measured at the ends
    if quantity == "pitch":
        return [] if sound.f0_hz is None else [sound.f0_hz]
    if quantity == "rate":
        return [target.rate_hz] if isinstance(target, Acoustics) and target.rate_hz is not None else []
    name = {"loudness": "rms_dbfs", "duration": "duration_s", "brightness": "centroid_hz"}[quantity]
    values: list[float] = [getattr(sound, name)]
    if isinstance(target, Acoustics):  # of a clip both with its silence and without
        values.insert(0, getattr(target, name))
    return values


def find_target(claim: Claim, clips: Sequence[Acoustics]) -> tuple[Target | None, Sequence[Target]]:
    """Return the clip or sound that the claim is about, None where there is none, and those it may be compared with."""
    if claim.place is not None:
        i, n = claim.place
        rows: list[Sequence[Target]] = [clips] if len(clips) > 1 else [clips[0].sounds, clips[0].phrases]
        for row in rows:
            if len(row) == n:  # as many sounds as claims: each claim is about one of them, in order
                return row[i], ()
    if claim.subject is None:
        return (clips[0] if len(clips) == 1 else None), ()
    candidates = parts(clips, claim.subject + 1)
    if not -len(candidates) <= claim.subject < len(candidates):  # of no sounds there is no last one either
        return None, ()
    target = candidates[claim.subject]
    return target, [candidate for candidate in candidates if candidate is not target]


def voiced_share(target: Target) -> float:
    """Return the share of the target's frames that have a pitch; 0 for silence."""
    sound = target.whole if isinstance(target, Acoustics) else target
    return 0.0 if sound is None else sound.voiced_share
