"""Check claims against the measurements of `rewards.grounding.acoustics`.

A claim is true, false, or open (None) where the measurements cannot tell: in the neutral zone of a scale, about a
quantity that this sound does not have, or so wide that it says nothing ("above 20 Hz").
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from rewards.grounding.acoustics import Acoustics
from rewards.grounding.claim import Claim
from rewards.grounding.scales import LEVEL_MOVES_DB, PITCH_MOVES_ST, SCALES, UNVOICED_BELOW, VOICED_FROM, Scale
from rewards.grounding.targets import Target, find_target, parts, readings, voiced_share
from rl.units import many


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim and whether it is true."""

    claim: Claim
    true: bool | None
    """True or false; None where the measurements leave it open."""
    miss: float = 0.0
    """Error of a false claim, in tolerances or margins of its quantity."""
    measurement: str = ""
    """The measurement in words, for reasons."""

    def fact_key(self, clips: Sequence[Acoustics]) -> tuple[Hashable, ...]:
        """Return a key that is equal for claims of the same fact: "the second is higher" and "the first is lower", 220 Hz
        and 221 Hz. That of a false claim holds what it says too, so that a second guess counts as another error."""
        claim, sign = self.claim, self.claim.sign * (-1 if self.claim.denied else 1)
        if claim.kind in ("compare", "same", "extreme"):
            count = len(parts(clips, max(claim.subject or 0, claim.reference or 0) + 1))
            subject, reference = _sides(claim, max(1, count))
            pair = subject is not None and reference is not None and (count == 2 or claim.kind != "extreme")
            sounds: Hashable = frozenset((subject, reference)) if pair else subject
            if pair and subject != min(subject or 0, reference or 0):
                sign = -sign  # as seen from the first of the pair
            topic = ("between", claim.quantity, sounds, "same" if claim.kind == "same" and not self.true else "")
        else:
            sounds = claim.place if claim.subject is None else claim.subject
            topic = (claim.kind, claim.quantity, sounds, claim.moment)
        return topic if self.true else (*topic, sign, claim.values)


def check(claim: Claim, clips: Sequence[Acoustics]) -> Finding:
    """Check a claim against the prompt's clips. With one clip, `subject` is the k-th sound in it."""
    if claim.kind == "count":
        finding = _check_count(claim, clips)
    elif claim.kind in ("compare", "same", "extreme"):
        finding = _check_comparison(claim, clips)
    else:
        target, rest = find_target(claim, clips)
        if target is None:
            if claim.subject is None:
                return Finding(claim, None)  # it does not say which clip it is about
            number = "" if claim.subject < 0 else f" {claim.subject + 1}"  # a silent clip has no last sound
            return Finding(claim, False, 9.0, f"no sound{number}")
        claim = _place_to_moment(claim, clips, target)
        # Measurements are of whole sounds and their ends, not of parts.
        if claim.moment in ("early", "late") or (claim.kind == "trend" and claim.place and claim.moment):
            return Finding(claim, None)
        checks = {"value": _check_value, "trend": _check_trend, "ends": _check_ends, "unpitched": _check_no_pitch}
        finding = _check_level(claim, target, rest) if claim.kind == "level" else checks[claim.kind](claim, target)
    if not claim.denied or finding.true is None:
        return finding
    if claim.kind in ("value", "count", "ends") and not finding.true:
        return Finding(claim, None)  # "not 300 Hz" earns nothing: a denial of almost any number would be true
    return Finding(claim, not finding.true, 1.0, finding.measurement)


def _place_to_moment(claim: Claim, clips: Sequence[Acoustics], target: Target) -> Claim:
    """Return a claim with the `moment` for its `place` where the only clip holds one sound: `110Hz 220Hz`, "low, then
    high" are then about the start and the end of it."""
    if claim.place is None or len(clips) > 1 or target is not clips[0]:
        return claim
    return replace(claim, moment={(0, 2): "start", (1, 2): "end"}.get(claim.place, "early"))


def _in_words(quantity: str, *values: float) -> str:
    unit = SCALES[quantity].unit
    return " against ".join(f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}" for value in values) + f" {unit}"


def _check_value(claim: Claim, target: Target) -> Finding:
    assert claim.values is not None
    scale, (low, high) = SCALES[claim.quantity], claim.values
    if (claim.quantity == "pitch" and high < 45) or (claim.quantity == "loudness" and low > 6):
        return Finding(claim, None)  # an interval or decibels above some reference: not what is measured
    values = readings(target, claim.quantity, claim.moment)
    if not values:
        if claim.quantity == "pitch" and voiced_share(target) < UNVOICED_BELOW:
            return Finding(claim, False, 5.0, "no pitch")
        return Finding(claim, None)
    low_step, high_step = scale.steps(low), scale.steps(high)
    misses: list[float] = []
    for rank, value in enumerate(values):
        # "0.1k" may stand for 0.06 kHz rounded: half a unit of the last decimal is allowed.
        if value < low:
            value = min(low, value + claim.rounding)
        elif value > high:
            value = max(high, value - claim.rounding)
        step = scale.steps(value)
        too_low, too_high = low_step - step, step - high_step
        miss = {"above": too_low, "below": too_high}.get(claim.bound, max(too_low, too_high))
        misses.append(miss if rank == 0 else 2 * miss)  # a less likely reading gets half the tolerance
    miss = min(misses)
    if miss > scale.tolerance:
        return Finding(claim, False, miss / scale.tolerance, _in_words(claim.quantity, values[0]))
    empty = high_step - low_step > scale.wide or (claim.bound != "about" and miss < -scale.wide)
    return Finding(claim, None if empty else True)


def _check_level(claim: Claim, target: Target, rest: Sequence[Target]) -> Finding:
    """Check "low" or "loud" on the scale, and where that does not make it true against the mean of the `rest`."""
    values = readings(target, claim.quantity, claim.moment)
    if not values:
        return Finding(claim, None)
    scale = SCALES[claim.quantity]
    verdicts = {_on_scale(scale, value, claim.sign) for value in values} - {None}
    absolute = verdicts.pop() if len(verdicts) == 1 else None  # readings that disagree leave it open
    measurement = _in_words(claim.quantity, values[0])
    rest_values = [readings(sound, claim.quantity)[0] for sound in rest if readings(sound, claim.quantity)]
    if rest_values and absolute is not True:
        ahead = claim.sign * (scale.steps(values[0]) - sum(map(scale.steps, rest_values)) / len(rest_values))
        if abs(ahead) >= scale.margin:
            return Finding(claim, ahead > 0, abs(ahead) / scale.margin, measurement)
    return Finding(claim, absolute, 1.0, measurement)


def _on_scale(scale: Scale, value: float, sign: int) -> bool | None:
    if scale.low < value < scale.high:
        return None
    return (value >= scale.high) == (sign > 0)


def _check_comparison(claim: Claim, clips: Sequence[Acoustics]) -> Finding:
    """Check a comparison: with the sound that it names, with the only other one, or with all others."""
    last = max((i for i in (claim.subject, claim.reference) if i is not None), default=0)
    candidates = parts(clips, last + 1)
    if len(candidates) < 2 or last >= len(candidates):
        # 9 tolerances: `miss` only ranks false claims, of which the reason names the worst.
        return Finding(claim, False, 9.0, f"only {many(len(candidates), 'sound')}")
    subject, reference = _sides(claim, len(candidates))
    if subject is None or subject == reference:
        return Finding(claim, None)  # it does not say which, or compares one with itself
    if reference is not None and claim.kind != "extreme":
        rest = [reference]
    else:
        rest = [i for i in range(len(candidates)) if i != subject]
    findings = [_check_pair(claim, candidates[subject], candidates[i]) for i in rest]
    truths = [finding.true for finding in findings]
    if False in truths:
        return max((f for f in findings if f.true is False), key=lambda f: f.miss)  # the reason names the worst
    return Finding(claim, None) if None in truths else findings[0]


def _sides(claim: Claim, count: int) -> tuple[int | None, int | None]:
    """Return the indices that are compared, out of `count` sounds; -1 is the last, and of two the other one is meant."""
    subject, reference = (None if i is None else i % count for i in (claim.subject, claim.reference))
    if count == 2 and (subject is None or subject != reference):
        subject = 1 - reference if subject is None and reference is not None else subject or 0
        reference = 1 - subject
    return subject, reference


def _check_pair(claim: Claim, subject: Target, reference: Target) -> Finding:
    scale = SCALES[claim.quantity]
    pairs = list(zip(readings(subject, claim.quantity), readings(reference, claim.quantity), strict=False))
    if not pairs:
        return Finding(claim, None)
    differences = [scale.steps(a) - scale.steps(b) for a, b in pairs]
    measurement = _in_words(claim.quantity, *pairs[0])
    if claim.kind == "same":
        distance = min(map(abs, differences)) / scale.margin
        return Finding(claim, distance <= 2, distance, measurement)
    # The most likely reading by which the two differ decides.
    decisive = next((d for d in differences if abs(d) >= scale.margin), differences[0])
    ahead = claim.sign * decisive / scale.margin
    return Finding(claim, ahead >= 1, 1 - ahead, measurement)


def _check_trend(claim: Claim, target: Target) -> Finding:
    sound = target.whole if isinstance(target, Acoustics) else target
    if sound is None or claim.quantity not in ("pitch", "loudness"):
        return Finding(claim, None)
    pitch = claim.quantity == "pitch"
    change, least = (sound.f0_change_st, PITCH_MOVES_ST) if pitch else (sound.level_change_db, LEVEL_MOVES_DB)
    if change is None:
        return Finding(claim, None)
    measurement = f"changes by {change:+.1f} {'semitones' if pitch else 'dB'}"
    if claim.sign == 0:
        movement = abs(change) / least
        return Finding(claim, _compare_to_bounds(movement, 1.5, 3), movement, measurement)
    # Against the claimed direction is false; less than `least` along it is open.
    ahead = claim.sign * change / least
    return Finding(claim, _compare_to_bounds(-ahead, -1, 0), 1 - ahead, measurement)


def _compare_to_bounds(value: float, true_up_to: float, false_from: float) -> bool | None:
    """Return True up to the first bound, False from the second, None between them."""
    if value <= true_up_to:
        return True
    return False if value >= false_from else None


def _check_ends(claim: Claim, target: Target) -> Finding:
    """Check the pitches of a sweep's two ends, or of the first and the last sound."""
    assert claim.values is not None
    whole = target.whole if isinstance(target, Acoustics) else target
    sweep = [whole.f0_start_hz, whole.f0_end_hz] if whole else []
    rows = [sweep]
    if isinstance(target, Acoustics) and len(target.sounds) > 1:
        rows.append([target.sounds[0].f0_hz, target.sounds[-1].f0_hz])
    steps = SCALES["pitch"].steps
    misses = [
        max(
            abs(steps(claimed_hertz) - steps(hertz))
            for claimed_hertz, hertz in zip(claim.values, row, strict=True)
            if hertz
        )
        for row in rows
        if row and all(row)
    ]
    if not misses:
        return Finding(claim, False, 5.0, "no pitch") if voiced_share(target) < UNVOICED_BELOW else Finding(claim, None)
    miss = min(misses) / (2 * SCALES["pitch"].tolerance)  # the ends of a line are measured less exactly than a median
    return Finding(claim, miss <= 1, miss, " to ".join(f"{hertz:.0f}" for hertz in rows[0] if hertz) + " Hz")


def _check_count(claim: Claim, clips: Sequence[Acoustics]) -> Finding:
    assert claim.values is not None
    if len(clips) > 1 and (claim.subject is None or claim.subject >= len(clips)):
        return Finding(claim, None)
    clip = clips[claim.subject or 0] if len(clips) > 1 else clips[0]
    counts = {len(clip.sounds)} if claim.quantity == "beats" else {len(clip.phrases)}
    if claim.quantity == "count":  # "sounds", "events" may be short or long
        counts.add(len(clip.sounds))
    claimed_count = claim.values[0]
    measurement = " or ".join(map(str, sorted(counts))) + " sounds"
    if claim.bound == "about":
        return Finding(claim, claimed_count in counts, min(abs(claimed_count - count) for count in counts), measurement)
    above = claim.bound == "above"
    matches = [count for count in counts if (count >= claimed_count if above else count <= claimed_count)]
    if not matches:
        return Finding(claim, False, 1.0, measurement)
    says_something = any(
        max(count, claimed_count) <= 2 * min(count, claimed_count) for count in matches
    )  # "at most 50" of three sounds says nothing
    return Finding(claim, True if says_something and (claimed_count > 1 or not above) else None)


def _check_no_pitch(claim: Claim, target: Target) -> Finding:
    share = voiced_share(target)
    true = None
    if share < UNVOICED_BELOW:
        true = True
    elif share > VOICED_FROM:
        true = False
    return Finding(claim, true, 1.0, f"{share:.0%} pitched")
