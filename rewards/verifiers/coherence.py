"""Does the chain hold together: it has steps, its claims do not contradict one another, and the answer is what it concludes.

    score = steps · consistent · concluded

`steps`: min(1, steps / min_steps), sentences or claims, whichever are more. `consistent`: 0 where two claims of the chain
cannot both hold ("the first is higher", `a 220Hz b 440Hz`), unless the later one is marked as a correction ("wait, no").
`concluded`: 0 where the chain concludes another answer than the response gives; where no conclusion can be recognised
it is `silent` (1 by default: a rule that cannot read a chain does not blame it). What the sound is like is not asked here:
that is `grounding`. Rules see no more than claims and conclusions; what they pass, a model may judge as well: a part
`{verifier: judge, only_if: coherence, args: {rubric: coherence, …}}`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isclose
from typing import Any

from rewards.answers import marked, said
from rewards.contract import Case
from rewards.grounding.lexicon import COMPARATIVES, LEVELS, NUMBERS, ORDINALS, TRENDS
from rewards.grounding.parser import Claim, read_claims
from rewards.grounding.scales import SCALES
from rewards.verifiers.choice import chosen_letter, options_of
from rewards.verifiers.numeric import numbers
from rewards.verifiers.text import answer_text, normalised
from rl.types import Prompt, Rollout, Verdict

_STEP = re.compile(r"(?<=[.!?])\s+|[\n;]+|, (?:so|then|and then|therefore|thus) ")
_CORRECTS = re.compile(
    r"^\W*(?:wait|no\b|actually|correction|hmm|scratch that|on second thought|rather|sorry|let me correct)"
)
_CONCLUDES = re.compile(
    r"(?i:\b(?:final |correct |right |my )?answer (?:is|must be|should be|would be)|\banswer:|\bi (?:choose|pick|select|go with"
    r"|conclude that it is)|\bso it (?:is|must be)|\bit must be|\btherefore(?: it is)?,?|\bhence(?: it is)?,?|\bthus(?: it is)?,?)"
    r"\s*(?:the |an? |[Oo]ption |[Cc]hoice |clip |\()*(?P<what>(?:[^.;!?\n]|\.(?=\d))+)"
)
_LETTER = re.compile(r"(?<![\w'’])[A-J](?![\w'’])")
_ENOUGH = 100
"""With so many claims of one topic a later one is compared: a loop makes thousands."""


def verify(prompt: Prompt, rollout: Rollout, *, min_steps: int = 1, silent: float = 1.0) -> Verdict:
    """Score as above; parts: steps, consistent, concluded, and known (whether a conclusion was recognised)."""
    chain = rollout.reasoning
    if not chain:
        return Verdict(reason="no chain of thought")
    claims = read_claims(chain)
    count = max(len([step for step in _STEP.split(chain) if step.strip()]), len(claims))
    steps = min(1.0, count / max(1, min_steps))
    clash = contradiction(claims)
    agrees = concludes(prompt, chain, claims, rollout.response)
    concluded = silent if agrees is None else float(agrees)
    reason = f"contradicts itself: '{clash[0].text}' and '{clash[1].text}'" if clash else ""
    if agrees is False:
        reason = f"answers '{answer_text(rollout.response)[:60]}', which its chain does not conclude"
    return Verdict(
        score=steps * (clash is None) * concluded,
        parts={"steps": steps, "consistent": float(clash is None), "concluded": concluded, "known": agrees is not None},
        reason=reason,
    )


def contradiction(claims: Sequence[Claim]) -> tuple[Claim, Claim] | None:
    """Two claims that cannot both be true, the later one being no correction."""
    compared = [claim for claim in claims if claim.kind == "compare"]
    alike: dict[Any, list[Claim]] = defaultdict(list)
    for later in claims:
        before = alike[_topic(later)]
        earlier = next((claim for claim in before if _clash(claim, later)), None)
        if earlier and not _CORRECTS.search(later.text):
            return earlier, later
        if len(before) < _ENOUGH:
            before.append(later)
    for claim in compared:
        a, b = (_named_value(claims, claim, who) for who in _both(claim))
        if a and b and a.values and b.values:
            scale = SCALES[claim.quantity]
            ahead = scale.steps(a.values[0]) - scale.steps(b.values[0])
            if ahead * claim.sign * (-1 if claim.denied else 1) < 0 and not _CORRECTS.search(claim.text):
                return a if a.values[0] != b.values[0] else b, claim
    return None


def _both(claim: Claim) -> tuple[int | None, int | None]:
    """The two that are compared, the other of two being meant where it is not named."""
    subject, other = claim.subject, claim.reference
    subject = 1 - other if subject is None and other in (0, 1) else subject
    return subject, 1 - subject if other is None and subject in (0, 1) else other


def _named_value(claims: Sequence[Claim], like: Claim, subject: int | None) -> Claim | None:
    values = [c for c in claims if c.kind == "value" and c.quantity == like.quantity and c.bound == "about"]
    return next((c for c in reversed(values) if subject is not None and c.subject == subject), None)


def _topic(claim: Claim) -> Any:
    """Claims clash only where they are of the same: of one thing at one time, not of one after another."""
    of = (claim.kind, claim.quantity, claim.moment, claim.thing)
    if claim.kind == "compare":
        return *of, frozenset(_both(claim))
    return of if claim.kind == "extreme" else (*of, claim.subject, claim.place, claim.bound)


def _clash(a: Claim, b: Claim) -> bool:
    """Whether two claims of one topic cannot both be true."""
    if a.kind == "compare":
        if _both(a) == _both(b):
            return a.sign * (-1) ** a.denied != b.sign * (-1) ** b.denied
        return a.sign == b.sign and not a.denied and not b.denied
    if a.kind == "extreme":
        return a.sign == b.sign and (a.subject != b.subject) and not (a.denied or b.denied)
    if a.kind in ("level", "trend"):
        return (a.sign == b.sign and a.denied != b.denied) or (a.sign == -b.sign != 0 and not (a.denied or b.denied))
    if a.denied or b.denied or a.values is None or b.values is None or a.bound != "about":
        return False
    if a.kind == "count":
        return a.values != b.values
    scale = SCALES[a.quantity]
    gap = max(scale.steps(a.values[0]) - scale.steps(b.values[1]), scale.steps(b.values[0]) - scale.steps(a.values[1]))
    return a.kind == "value" and gap > 2 * scale.tolerance


def concludes(prompt: Prompt, chain: str, claims: Sequence[Claim], response: str) -> bool | None:
    """Whether the chain's conclusion is the answer of the response; None where none is recognised."""
    given = prompt.fields.get("options", prompt.fields.get("choices"))
    options = options_of(given) if given else {}
    answer = _answer(answer_text(response), options) or _plain(marked(response) or said(response) or response)
    if not answer:
        return False
    expected = _compared(prompt.question, claims)
    if expected is not None and answer in ("first", "second"):
        return answer == expected
    conclusions = list(_CONCLUDES.finditer(chain))
    if not conclusions:
        return _last_word(normalised(chain), claims, answer, list(map(normalised, options.values())))
    what = conclusions[-1]["what"]
    if options:
        concluded = _answer(what, options)
        named = [text for text in map(normalised, options.values()) if _whole(text, _plain(what))]
        return concluded == answer if concluded else False if len(named) + len(set(_LETTER.findall(what))) > 1 else None
    if _whole(answer, _plain(what)):
        return True
    ours, theirs = numbers(answer), numbers(_plain(what))
    if ours and theirs:
        return any(isclose(ours[-1], number) for number in theirs)
    explicit = "answer" in conclusions[-1][0].lower()
    return False if explicit and len(answer.split()) <= 3 else None


def _answer(text: str, options: Mapping[str, str]) -> str | None:
    """The text of the one option that a text chooses (`choice`), in lower case; also by a small letter, "b" or "b.", that
    is no article."""
    small = re.match(r"(?:option |choice )?\(?([b-j])(?:$|[).:,])", text.strip())
    letter = (
        small[1].upper() if small and small[1].upper() in options else chosen_letter(text, options) if options else None
    )
    return None if letter is None else normalised(options[letter])


def _last_word(chain: str, claims: Sequence[Claim], answer: str, options: Sequence[str]) -> bool | None:
    """Of a chain without "so", "therefore": it ends with one of the options, counts up to a number, or describes with a
    word that is the answer or its opposite."""
    ends = [option for option in options if chain == option or chain.endswith(f" {option}")]
    if ends:
        return answer == max(ends, key=len)
    if len(claims) == 1 and claims[0].kind == "count" and claims[0].values and answer.isdecimal():
        return claims[0].values[0] == float(answer)
    for kind, words in (("level", LEVELS), ("trend", TRENDS)):
        if answer in words:
            quantity, sign = words[answer]
            like = [c for c in claims if c.kind == kind and not c.denied and quantity in (None, c.quantity)]
            return like[-1].sign == sign if like else None
    return None


def _plain(text: str) -> str:
    """In lower case, with numbers in digits."""
    return " ".join(str(NUMBERS[word]) if word in NUMBERS else word for word in normalised(text).split())


def _whole(part: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def _compared(question: str, claims: Sequence[Claim]) -> str | None:
    """The answer to "which is lower?" that the chain's last comparison of two gives."""
    asked = [COMPARATIVES[word] for word in re.findall(r"[a-z-]+", question.lower()) if word in COMPARATIVES]
    names = {place: name for name, place in ORDINALS.items() if name in ("first", "second")}
    for claim in reversed(claims):
        subject, other = _both(claim) if claim.kind == "compare" else (None, None)
        fits = len(asked) == 1 and claim.quantity == (asked[0][0] or "pitch") and not claim.denied
        if fits and subject in names and other in names:
            return names[subject if claim.sign == asked[0][1] else other]
    return None


def _case(chain: str, answer: str, right: bool = True, question: str = "", options: Sequence[str] = ()) -> Case:
    fields = {"options": list(options)} if options else {}
    return Case(f"<think>\n{chain}\n</think>\n{answer}", None, right, question=question, fields=fields)


GOLD = [
    _case("a 220Hz b 440Hz second higher", "second", question="which is higher?"),
    _case("a 220Hz b 440Hz second higher", "first", question="which is lower?"),
    _case("a 220Hz b 440Hz second higher", "B", question="which is higher?", options=("first", "second")),
    _case("It barks twice. So the answer is a dog.", "dog", options=("cat", "dog")),
    _case("The pitch is low. Wait, actually the pitch is high. Therefore it is B.", "B", options=("a man", "a child")),
    _case("The pitch rises, then falls. The dog is loud, the cat is quiet.", "dog"),
    _case("First I hear a low tone, then a high tone. The second is higher.", "second", question="which is higher?"),
    _case("1 2 3", "3"),
    _case("110Hz low", "low"),
    _case("3 + 4 = 7. The answer is 7.", "7"),
    _case("a 220Hz b 440Hz second higher", "first", False, question="which is higher?"),
    _case("a 220Hz b 440Hz first higher", "first", False, question="which is higher?"),
    _case("The first is louder than the second. The second is louder than the first.", "first", False),
    _case("The pitch is about 120 Hz and low. The pitch is high.", "B", False),
    _case("It barks. So the answer is a dog.", "A", False, options=("cat", "dog")),
    _case("It barks. So the answer is a dog.", "It is a dog.", options=("cat", "dog")),
    _case("It barks. So the answer is a dog or a cat.", "cat", False, options=("cat", "dog")),
    _case("The answer is 7.", "8", False),
    _case("1 2 3", "4", False),
    _case("110Hz low", "high", False),
    Case("second", None, False),
]
