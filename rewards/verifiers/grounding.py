"""Grounding of the chain: it reasons about the sound, and its claims, measured on the clips themselves, are true.

It has two levels. **Named**: the families of perceptual features that the chain mentions (pitch, timbre, loudness, tempo,
rhythm, space, noise), against phrases that reason from a text ("the lyrics mention …"), as in MGRD's criterion of
acoustic grounding. **Measured**: claims such as "about 120 Hz", "rising", "the second is louder", "three beats" or
`a 220Hz b 440Hz second higher` are parsed (`rewards.grounding.parser`), measured (`rewards.grounding.acoustics`) and
compared (`rewards.grounding.checker`).

    measured = true / max(checked, min_claims)      share of true claims; too few claims earn only a part
    named    = min(1, families / min_features)
    clean    = mentions / (mentions + surrogate_weight · surrogates)
    score    = (measured_weight · measured + (1 - measured_weight) · named) · clean

A claim that no measure can decide counts as claimed and not as checked. One fact counts once, however often it is stated:
"the second is higher, so the first is lower". Each true fact's part of the score is a span of the verdict, where it is first
claimed: an rlvr stage with `reward_at: spans` pays it there. A chain without a word about sound scores 0, and so does an answer without a
chain. Whether a claim is informative is not judged: "short and low" is true of most spoken digits, so let the answer's
accuracy weigh more than this part.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any  # Any: further fields of a Case, by name

from rewards.contract import Case
from rewards.grounding.acoustics import measure
from rewards.grounding.checker import Finding, check
from rewards.grounding.parser import Claim, read_claims
from rewards.grounding.surrogates import FEATURES, NEGATION, SURROGATE
from rewards.grounding.tones import tone
from rl.types import Clip, Prompt, RewardSpan, Rollout, Verdict

ON_TIMEOUT = "error"
"""Measuring takes as long as the prompt's clips are: the answer is not to blame."""
_WORD = re.compile(r"[a-z]+0?(?:-[a-z]+)*")
_FAMILY = {word: family for family, words in FEATURES.items() for word in words}
_FAMILY_OF_QUANTITY = {  # a quantity that is not listed is the name of its own family
    "duration": "rhythm",
    "count": "rhythm",
    "beats": "rhythm",
    "words": "rhythm",
    "brightness": "timbre",
    "rate": "tempo",
}


def verify(
    prompt: Prompt,
    rollout: Rollout,
    *,
    measured_weight: float = 0.7,
    min_claims: int = 2,
    min_features: int = 1,
    surrogate_weight: float = 1.0,
) -> Verdict:
    """Score a chain as above. Parts: the counts claimed, checked, true, features and surrogates, and the shares measured,
    named and clean. The reason names the false claim that is furthest off. Raises ValueError for a prompt without
    audio."""
    if not prompt.clips:
        raise ValueError(f"prompt '{prompt.id}' has no audio; give this part `when: {{audio: true}}`")
    chain = rollout.reasoning
    clips = [measure(clip) for clip in prompt.clips]
    findings = [check(claim, clips) for claim in read_claims(chain)]
    families, mentions = find_features(chain, [finding.claim for finding in findings])
    phrases = find_surrogates(chain)
    # one fact is counted once: `fact` is the same for "the second is higher" and "the first is lower"
    facts: dict[tuple[bool, Hashable], Claim] = {}
    for finding in findings:
        if finding.true is not None:
            facts.setdefault((finding.true, finding.fact_key(clips)), finding.claim)
    checked_count, true_count = len(facts), sum(is_true for is_true, _ in facts)
    # Divided by at least `min_claims`: one lucky guess is not listening.
    true_share = true_count / max(checked_count, min_claims, 1)
    family_share = min(1.0, len(families) / max(1, min_features))
    clean_share = mentions / (mentions + surrogate_weight * len(phrases)) if mentions else 0.0
    parts = {"claimed": len(findings), "checked": checked_count, "true": true_count}
    parts |= {"features": len(families), "surrogates": len(phrases)}
    # Each true claim earns its share where it stands; a false one earns nothing there.
    share = measured_weight * clean_share / max(checked_count, min_claims, 1)
    true_claims = [claim for (is_true, _), claim in facts.items() if is_true]
    return Verdict(
        score=(measured_weight * true_share + (1 - measured_weight) * family_share) * clean_share,
        parts={**parts, "measured": true_share, "named": family_share, "clean": clean_share},
        reason=_explain(chain, findings, phrases),
        spans=place_claims(true_claims, share, rollout.text, chain),
    )


def place_claims(claims: Sequence[Claim], share: float, text: str, chain: str) -> tuple[RewardSpan, ...]:
    """Return a span of the text for each claim of its chain, from the claim before it on."""
    offset, spans, start = max(text.find(chain), 0), list[RewardSpan](), 0
    for claim in sorted(claims, key=lambda claim: claim.end):
        end = max(claim.end, start + 1)
        spans.append(RewardSpan(offset + start, offset + end, share))
        start = end
    return tuple(spans) if share else ()


def find_features(chain: str, claims: list[Claim]) -> tuple[set[str], int]:
    """Return (the families of perceptual features that a chain mentions, in words or by its claims; number of
    mentions)."""
    families = [_FAMILY[word] for word in _WORD.findall(chain.lower()) if word in _FAMILY]
    claim_families = {_FAMILY_OF_QUANTITY.get(claim.quantity, claim.quantity) for claim in claims}
    return {*families, *claim_families}, len(families) + len(claims)


def find_surrogates(chain: str) -> list[str]:
    """Return the phrases of a chain that reason from a text in place of the sound, without those that it rejects ("not from
    the transcript")."""
    text = chain.lower()
    return [m[0] for m in SURROGATE.finditer(text) if not NEGATION.search(text[: m.start()])]


def _explain(chain: str, findings: list[Finding], phrases: list[str]) -> str:
    """Return what is worst about a chain, in words; "" where it makes claims and none is false."""
    false_findings = [finding for finding in findings if finding.true is False]
    if false_findings:
        worst = max(false_findings, key=lambda finding: finding.miss)
        claim = worst.claim
        topic = f"number of {claim.quantity}" if claim.kind == "count" else f"{claim.kind} of {claim.quantity}"
        return f"false: '{claim.text}' ({topic}: measured {worst.measurement})"
    if phrases:
        return f"reasons from a text: '{phrases[0]}'"
    if not chain:
        return "no chain of thought"
    return "" if findings else "claims nothing of the sound"


_LOW, _HIGH = tone(220, 0.4, -30), tone(440, 0.9, -18)
_PAIR, _ROW = (_LOW, _HIGH), (tone(220, 0.2, -20, then=(330, 440), gap_s=0.15),)


def _case(chain: str, clips: tuple[Clip, ...], right: bool = True, **case_fields: Any) -> Case:
    return Case(f"<think>\n{chain}\n</think>\nA", None, right, clips=clips, **case_fields)


GOLD = [
    _case("a 220Hz b 440Hz second higher", _PAIR),
    _case("a -30dB b -18dB second louder", _PAIR),
    _case("220Hz low", (_LOW,)),
    _case("The first tone is low, about 220 Hz; the second is clearly louder and lasts 0.9 s.", _PAIR),
    _case("The pitch is steady at roughly 440 Hz and it is not quiet.", (_HIGH,)),
    _case("I hear three tones. Pitch rises from the first to the third; the last one is the highest.", _ROW),
    _case("The pitch rises from 200 Hz to 400 Hz.", (tone(200, 0.5, -20, to_hertz=400),), args={"min_claims": 1}),
    _case("The last one is higher, and the last clip is louder than the first.", _PAIR),
    _case("a 220Hz b 440Hz first higher", _PAIR, False),
    _case("The second is higher. The first is lower.", _PAIR, False),
    _case("The pitch is 220 Hz. The pitch is 221 Hz.", (_LOW,), False),
    _case("At most 50 tones. At most 60 tones.", (_LOW,), False),
    _case("The first tone is louder than the second and lasts longer.", _PAIR, False),
    _case("A high pitch of about 440 Hz.", (_LOW,), False),
    _case("I hear five tones, falling in pitch.", _ROW, False),
    _case("The lyrics mention sadness, so the pitch is low, about 220 Hz.", (_LOW,), False),
    _case("The transcript says that it is the first.", _PAIR, False, score=(0.0, 0.0)),
    _case("It must be B.", _PAIR, False, score=(0.0, 0.0)),
    Case("The pitch is low, about 220 Hz.", None, score=(0.0, 0.0), equal=False, clips=(_LOW,)),
]
