"""A value whose sound is named after it is a claim about that sound."""

from __future__ import annotations

import pytest

from rewards.grounding.acoustics import measure
from rewards.grounding.checker import check
from rewards.grounding.parser import read_claims
from rewards.grounding.tones import tone

CLIPS = [measure(tone(220, 0.4, -30)), measure(tone(440, 0.9, -18))]


@pytest.mark.parametrize(
    ("wording", "values"),
    [
        ("I hear {0} Hz in the first clip. The second clip has {1} Hz.", (220, 440)),
        ("I hear {0} Hz in the first clip and {1} Hz in the second.", (220, 440)),
        ("A pitch of {1} Hz for clip 2 and {0} Hz for clip 1.", (220, 440)),
        ("{0} Hz (first) and {1} Hz (second).", (220, 440)),
        ("A level of {0} dB in the first one, against {1} dB in the second one.", (-30, -18)),
        ("It lasts {0} s for the first and {1} s for the second.", (0.4, 0.9)),
        ("A length of {1} seconds in the second recording, of {0} seconds in the first recording.", (0.4, 0.9)),
        ("The first one first: {0} Hz. Then {1} Hz in the second.", (220, 440)),
    ],
)
def test_values_belong_to_the_sound_named_after_them(wording: str, values: tuple[float, float]) -> None:
    right = [check(claim, CLIPS).true for claim in read_claims(wording.format(*values))]
    swapped = [check(claim, CLIPS).true for claim in read_claims(wording.format(*values[::-1]))]
    assert False not in right
    assert right.count(True) == 2
    assert swapped.count(False) == 2


@pytest.mark.parametrize(
    ("chain", "subjects"),
    [
        ("The second is at 440 Hz for the second half.", [1]),
        ("The second has 440 Hz in the first 0.2 s.", [1]),
        ("The second is at 440 Hz, and in the first clip it is softer.", [1, 0]),
        ("The second at 440 Hz for a moment.", [1]),
        ("The pitch is 440 Hz in the room.", [None]),
    ],
)
def test_what_is_named_after_is_not_always_a_sound(chain: str, subjects: list[int | None]) -> None:
    assert [claim.subject for claim in read_claims(chain)] == subjects
