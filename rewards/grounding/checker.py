"""Whether a claim is true of the sounds: each kind of claim against what `rewards.grounding.acoustics` measures.

A finding is true, false, or open (None) where the measures cannot tell: a claim in the neutral zone of a scale, of a
quantity that this sound does not have, or so wide that it says nothing ("above 20 Hz").
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from rewards.grounding.acoustics import Acoustics, Sound
from rewards.grounding.claim import Claim
from rewards.grounding.scales import LEVEL_MOVES_DB, PITCH_MOVES_ST, SCALES, UNVOICED, VOICED, Scale

Target = Acoustics | Sound


@dataclass(frozen=True, slots=True)
class Finding:
    claim: Claim
    true: bool | None
    miss: float = 0.0
    """How far off a false claim is, in tolerances or margins of its quantity."""
    measured: str = ""

    def fact(self, clips: Sequence[Acoustics]) -> tuple[Hashable, ...]:
        """What makes it true: the same for "the second is higher" and "the first is lower", for 220 Hz and 221 Hz; for a
        false one also what it says, so that no second guess is free."""
        claim, sign = self.claim, self.claim.sign * (-1 if self.claim.denied else 1)
        if claim.kind in ("compare", "same", "extreme"):
            count = len(parts(clips, max(claim.subject or 0, claim.other or 0) + 1))
            subject, other = _sides(claim, max(1, count))
            pair = subject is not None and other is not None and (count == 2 or claim.kind != "extreme")
            of: Hashable = frozenset((subject, other)) if pair else subject
            sign = -sign if pair and subject != min(subject or 0, other or 0) else sign
            topic = ("between", claim.quantity, of, "same" if claim.kind == "same" and not self.true else "")
        else:
            of = claim.place if claim.subject is None else claim.subject
            topic = (claim.kind, claim.quantity, of, claim.moment)
        return topic if self.true else (*topic, sign, claim.values)


def check(claim: Claim, clips: Sequence[Acoustics]) -> Finding:
    """The claim against the prompt's clips. With one clip, `subject` is the k-th sound in it."""
    if claim.kind == "count":
        finding = _count(claim, clips)
    elif claim.kind in ("compare", "same", "extreme"):
        finding = _between(claim, clips)
    else:
        target, others = _target(claim, clips)
        if target is None:
            if claim.subject is None:
                return Finding(claim, None)  # of which of the clips?
            return Finding(claim, False, 9.0, f"no sound {claim.subject + 1}")
        claim = _unplaced(claim, clips, target)
        if claim.moment in ("early", "late") or (claim.kind == "trend" and claim.place and claim.moment):
            return Finding(claim, None)
        alone = {"value": _value, "trend": _trend, "ends": _ends, "unpitched": _unpitched}
        finding = _level(claim, target, others) if claim.kind == "level" else alone[claim.kind](claim, target)
    if not claim.denied or finding.true is None:
        return finding
    if claim.kind in ("value", "count", "ends") and not finding.true:
        return Finding(claim, None)  # what it is not says nothing
    return Finding(claim, not finding.true, 1.0, finding.measured)


def _unplaced(claim: Claim, clips: Sequence[Acoustics], target: Target) -> Claim:
    """`110Hz 220Hz`, "low, then high" where there are not two: of where the sound starts, and of where it ends."""
    if claim.place is None or len(clips) > 1 or target is not clips[0]:
        return claim
    return replace(claim, moment={(0, 2): "start", (1, 2): "end"}.get(claim.place, "early"))


def parts(clips: Sequence[Acoustics], least: int = 2) -> Sequence[Target]:
    """What a chain can count through: the clips of a prompt that has several, else the phrases in its clip, else the
    sounds, if there are `least`."""
    if len(clips) > 1:
        return clips
    return clips[0].phrases if len(clips[0].phrases) >= max(2, least) else clips[0].sounds


def readings(target: Target, quantity: str, moment: str = "") -> list[float]:
    """What the quantity may mean for the target, or at one end of it, the most likely first; empty where it has none."""
    sound = target.whole if isinstance(target, Acoustics) else target
    if sound is None:
        return []
    if moment and quantity == "pitch":
        row = target.sounds if isinstance(target, Acoustics) and len(target.sounds) > 1 else ()
        ends = [sound.f0_start_hz if moment == "start" else sound.f0_end_hz]
        ends += [row[0 if moment == "start" else -1].f0_hz] if row else []
        return [float(end) for end in reversed(ends) if end]
    if moment and quantity in ("loudness", "brightness"):
        return []
    if quantity == "pitch":
        return [] if sound.f0_hz is None else [sound.f0_hz]
    if quantity == "rate":
        return [target.rate_hz] if isinstance(target, Acoustics) and target.rate_hz is not None else []
    name = {"loudness": "rms_dbfs", "duration": "duration_s", "brightness": "centroid_hz"}[quantity]
    return [getattr(target, name), getattr(sound, name)] if isinstance(target, Acoustics) else [getattr(sound, name)]


def _target(claim: Claim, clips: Sequence[Acoustics]) -> tuple[Target | None, Sequence[Target]]:
    """What the claim is about, and what stands beside it."""
    if claim.place is not None:
        i, n = claim.place
        rows: list[Sequence[Target]] = [clips] if len(clips) > 1 else [clips[0].sounds, clips[0].phrases]
        for row in rows:
            if len(row) == n:
                return row[i], ()
    if claim.subject is None:
        return (clips[0] if len(clips) == 1 else None), ()
    among = parts(clips, claim.subject + 1)
    if len(among) <= claim.subject:
        return None, ()
    return among[claim.subject], [other for other in among if other is not among[claim.subject]]


def _told(quantity: str, *values: float) -> str:
    unit = SCALES[quantity].unit
    return " against ".join(f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}" for value in values) + f" {unit}"


def _value(claim: Claim, target: Target) -> Finding:
    assert claim.values is not None
    scale, (low, high) = SCALES[claim.quantity], claim.values
    if (claim.quantity == "pitch" and high < 45) or (claim.quantity == "loudness" and low > 6):
        return Finding(claim, None)  # in a unit of the chain's own
    heard = readings(target, claim.quantity, claim.moment)
    if not heard:
        unvoiced = claim.quantity == "pitch" and _voiced(target) < UNVOICED
        return Finding(claim, False, 5.0, "no pitch") if unvoiced else Finding(claim, None)
    below, above = scale.steps(low), scale.steps(high)
    misses: list[float] = []
    for reading, value in enumerate(heard):
        # "0.1k" may have been 0.06: what rounding took is given back
        at = scale.steps(
            min(low, value + claim.rounding)
            if value < low
            else max(high, value - claim.rounding)
            if value > high
            else value
        )
        too_low, too_high = below - at, at - above
        miss = {"above": too_low, "below": too_high}.get(claim.bound, max(too_low, too_high))
        misses.append(miss if reading == 0 else 2 * miss)  # less likely meant, so to be met more closely
    miss = min(misses)
    if miss > scale.tolerance:
        return Finding(claim, False, miss / scale.tolerance, _told(claim.quantity, heard[0]))
    empty = above - below > scale.wide or (claim.bound != "about" and miss < -scale.wide)
    return Finding(claim, None if empty else True)


def _level(claim: Claim, target: Target, others: Sequence[Target]) -> Finding:
    """Among several, against the others; else on the scale."""
    heard = readings(target, claim.quantity, claim.moment)
    if not heard:
        return Finding(claim, None)
    scale = SCALES[claim.quantity]
    said = [_absolute(scale, value, claim.sign) for value in heard]
    absolute = None if len(set(said) - {None}) != 1 else next(s for s in said if s is not None)
    beside = [readings(other, claim.quantity)[0] for other in others if readings(other, claim.quantity)]
    if beside and absolute is not True:
        ahead = claim.sign * (scale.steps(heard[0]) - sum(map(scale.steps, beside)) / len(beside))
        if abs(ahead) >= scale.margin:
            return Finding(claim, ahead > 0, abs(ahead) / scale.margin, _told(claim.quantity, heard[0]))
    return Finding(claim, absolute, 1.0, _told(claim.quantity, heard[0]))


def _absolute(scale: Scale, value: float, sign: int) -> bool | None:
    if scale.low < value < scale.high:
        return None
    return (value >= scale.high) == (sign > 0)


def _between(claim: Claim, clips: Sequence[Acoustics]) -> Finding:
    """Comparisons: with one other, with the only other one, or with all others."""
    named = [i for i in (claim.subject, claim.other) if i is not None]
    among = parts(clips, max(named, default=0) + 1)
    if len(among) < 2 or max(named, default=0) >= len(among):
        return Finding(claim, False, 9.0, f"only {len(among)} sound{'s' * (len(among) != 1)}")
    subject, other = _sides(claim, len(among))
    if subject is None or subject == other:
        return Finding(claim, None)  # of which, or of one with itself
    rest = [other] if other is not None and claim.kind != "extreme" else [i for i in range(len(among)) if i != subject]
    findings = [_pair(claim, among[subject], among[i]) for i in rest]
    truths = [finding.true for finding in findings]
    if False in truths:
        return max((f for f in findings if f.true is False), key=lambda f: f.miss)
    return Finding(claim, None) if None in truths else findings[0]


def _sides(claim: Claim, count: int) -> tuple[int | None, int | None]:
    """Which of so many sounds are compared; -1 is the last, and of two the other one is meant."""
    subject, other = (None if i is None else i % count for i in (claim.subject, claim.other))
    if count == 2 and (subject is None or subject != other):
        subject = 1 - other if subject is None and other is not None else subject or 0
        other = 1 - subject
    return subject, other


def _pair(claim: Claim, mine: Target, theirs: Target) -> Finding:
    scale = SCALES[claim.quantity]
    pairs = list(zip(readings(mine, claim.quantity), readings(theirs, claim.quantity), strict=False))
    if not pairs:
        return Finding(claim, None)
    differences = [scale.steps(a) - scale.steps(b) for a, b in pairs]
    told = _told(claim.quantity, *pairs[0])
    if claim.kind == "same":
        apart = min(map(abs, differences)) / scale.margin
        return Finding(claim, apart <= 2, apart, told)
    decisive = next((d for d in differences if abs(d) >= scale.margin), differences[0])
    ahead = claim.sign * decisive / scale.margin
    return Finding(claim, ahead >= 1, 1 - ahead, told)


def _trend(claim: Claim, target: Target) -> Finding:
    sound = target.whole if isinstance(target, Acoustics) else target
    if sound is None or claim.quantity not in ("pitch", "loudness"):
        return Finding(claim, None)
    pitch = claim.quantity == "pitch"
    change, least = (sound.f0_change_st, PITCH_MOVES_ST) if pitch else (sound.level_change_db, LEVEL_MOVES_DB)
    if change is None:
        return Finding(claim, None)
    told = f"changes by {change:+.1f} {'semitones' if pitch else 'dB'}"
    if claim.sign == 0:
        still = abs(change) / least
        return Finding(claim, True if still <= 1.5 else False if still >= 3 else None, still, told)
    ahead = claim.sign * change / least
    return Finding(claim, True if ahead >= 1 else False if ahead <= 0 else None, 1 - ahead, told)


def _ends(claim: Claim, target: Target) -> Finding:
    """A sweep's two ends, or the first and the last sound."""
    assert claim.values is not None
    whole = target.whole if isinstance(target, Acoustics) else target
    sounds = [whole.f0_start_hz, whole.f0_end_hz] if whole else []
    rows = [sounds]
    if isinstance(target, Acoustics) and len(target.sounds) > 1:
        rows.append([target.sounds[0].f0_hz, target.sounds[-1].f0_hz])
    misses = [
        max(
            abs(SCALES["pitch"].steps(said) - SCALES["pitch"].steps(heard))
            for said, heard in zip(claim.values, row, strict=True)
            if heard
        )
        for row in rows
        if row and all(row)
    ]
    if not misses:
        return Finding(claim, False, 5.0, "no pitch") if _voiced(target) < UNVOICED else Finding(claim, None)
    miss = min(misses) / (2 * SCALES["pitch"].tolerance)  # the ends of a line are less sure than a median
    return Finding(claim, miss <= 1, miss, " to ".join(f"{hertz:.0f}" for hertz in rows[0] if hertz) + " Hz")


def _count(claim: Claim, clips: Sequence[Acoustics]) -> Finding:
    assert claim.values is not None
    if len(clips) > 1 and (claim.subject is None or claim.subject >= len(clips)):
        return Finding(claim, None)
    clip = clips[claim.subject or 0] if len(clips) > 1 else clips[0]
    counts = {len(clip.sounds)} if claim.quantity == "beats" else {len(clip.phrases)}
    counts |= {len(clip.sounds)} if claim.quantity == "count" else set()
    said = claim.values[0]
    told = " or ".join(map(str, sorted(counts))) + " sounds"
    if claim.bound == "about":
        return Finding(claim, said in counts, min(abs(said - count) for count in counts), told)
    above = claim.bound == "above"
    fitting = [count for count in counts if (count >= said if above else count <= said)]
    if not fitting:
        return Finding(claim, False, 1.0, told)
    telling = any(max(count, said) <= 2 * min(count, said) for count in fitting)  # "at most 50" of three says nothing
    return Finding(claim, True if telling and (said > 1 or not above) else None)


def _unpitched(claim: Claim, target: Target) -> Finding:
    voiced = _voiced(target)
    return Finding(
        claim, True if voiced < UNVOICED else False if voiced > VOICED else None, 1.0, f"{voiced:.0%} pitched"
    )


def _voiced(target: Target) -> float:
    sound = target.whole if isinstance(target, Acoustics) else target
    return 0.0 if sound is None else sound.voiced_share
