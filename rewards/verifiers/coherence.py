"""Coherence of the chain: it has steps, its claims do not contradict one another, and it concludes the answer.

    score = steps · consistent · concluded

`steps`: min(1, steps / min_steps), where a step is a sentence or a claim, whichever are more. `consistent`: 0 where two
claims of the chain cannot both hold ("the first is higher", `a 220Hz b 440Hz`), unless the later one is marked as a
correction ("wait, no"). `concluded`: 0 where the chain concludes another answer than the response gives; where no conclusion
is recognised it is `silent` (1 by default: a chain that the rules cannot read is not to blame). Whether the claims are true
of the sound is the question of `grounding`. Rules see claims and conclusions alone; what passes them, a model may judge
too: a part
`{verifier: judge, only_if: coherence, args: {rubric: coherence, …}}`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isclose

from rewards.answers.marks import marked_answer, stated_answer
from rewards.answers.texts import answer_text, normalise_text
from rewards.choices.options import chosen_letter, read_options
from rewards.contract import Case
from rewards.grounding.lexicon import COMPARATIVES, LEVELS, NUMBERS, ORDINALS, TRENDS
from rewards.grounding.parser import Claim, read_claims
from rewards.grounding.scales import SCALES
from rewards.verifiers.numeric import find_numbers
from rl.types import Prompt, Rollout, Verdict

_STEP = re.compile(r"(?<=[.!?])\s+|[\n;]+|, (?:so|then|and then|therefore|thus) ")
_CORRECTION = re.compile(
    r"^\W*(?:wait|no\b|actually|correction|hmm|scratch that|on second thought|rather|sorry|let me correct)"
)
_CONCLUSION = re.compile(
    r"(?i:\b(?:final |correct |right |my )?answer (?:is|must be|should be|would be)|\banswer:|\bi (?:choose|pick|select|go with"
    r"|conclude that it is)|\bso it (?:is|must be)|\bit must be|\btherefore(?: it is)?,?|\bhence(?: it is)?,?|\bthus(?: it is)?,?)"
    r"\s*(?:the |an? |[Oo]ption |[Cc]hoice |clip |\()*(?P<answer>(?:[^.;!?\n]|\.(?=\d))+)"
)
_LETTER = re.compile(r"(?<![\w'’])[A-J](?![\w'’])")
_MAX_COMPARED = 100  # earlier claims of a topic that a new one is compared with: a loop makes thousands


def verify(prompt: Prompt, rollout: Rollout, *, min_steps: int = 1, silent: float = 1.0) -> Verdict:
    """Score a chain as above; parts: steps, consistent, concluded, and known (whether a conclusion was recognised)."""
    chain = rollout.reasoning
    if not chain:
        return Verdict(reason="no chain of thought")
    claims = read_claims(chain)
    count = max(len([step for step in _STEP.split(chain) if step.strip()]), len(claims))
    steps = min(1.0, count / max(1, min_steps))
    clash = find_contradiction(claims)
    agrees = concludes(prompt, chain, claims, rollout.response)
    conclusion = silent if agrees is None else float(agrees)
    reason = f"contradicts itself: '{clash[0].text}' and '{clash[1].text}'" if clash else ""
    if agrees is False:
        reason = f"answers '{answer_text(rollout.response)[:60]}', which its chain does not conclude"
    return Verdict(
        score=steps * (clash is None) * conclusion,
        parts={
            "steps": steps,
            "consistent": float(clash is None),
            "concluded": conclusion,
            "known": agrees is not None,
        },
        reason=reason,
    )


def find_contradiction(claims: Sequence[Claim]) -> tuple[Claim, Claim] | None:
    """Return two claims that cannot both be true, where the later one is no correction; None where there are none."""
    claims_by_topic: dict[tuple[object, ...], list[Claim]] = defaultdict(list)
    for later in claims:
        earlier_claims = claims_by_topic[_topic(later)]
        earlier = next((claim for claim in earlier_claims if _clash(claim, later)), None)
        if earlier and not _CORRECTION.search(later.text):
            return earlier, later
        if len(earlier_claims) < _MAX_COMPARED:
            earlier_claims.append(later)
    # A comparison may also contradict the values of what it compares: "a 220Hz b 440Hz, the first is higher".
    for claim in (claim for claim in claims if claim.kind == "compare"):
        a, b = (_last_value(claims, claim, subject) for subject in _compared_subjects(claim))
        if a and b and a.values and b.values:
            scale = SCALES[claim.quantity]
            difference = scale.steps(a.values[0]) - scale.steps(b.values[0])
            direction = claim.sign * (-1 if claim.denied else 1)
            if difference * direction < 0 and not _CORRECTION.search(claim.text):
                return a if a.values[0] != b.values[0] else b, claim
    return None


def _compared_subjects(claim: Claim) -> tuple[int | None, int | None]:
    """Return the indices of the two sounds that a claim compares. Where it names one of the first two alone, the other of
    these two is meant."""
    subject, rival = claim.subject, claim.reference
    if subject is None and rival in (0, 1):
        subject = 1 - rival
    if rival is None and subject in (0, 1):
        rival = 1 - subject
    return subject, rival


def _last_value(claims: Sequence[Claim], comparison: Claim, subject: int | None) -> Claim | None:
    """Return the last claim of a value that a comparison's quantity has for one of its subjects."""
    values = [c for c in claims if c.kind == "value" and c.quantity == comparison.quantity and c.bound == "about"]
    return next((c for c in reversed(values) if subject is not None and c.subject == subject), None)


def _topic(claim: Claim) -> tuple[object, ...]:
    """Return what a claim is about: only claims about the same thing at the same time can clash. "The pitch rises, then
    falls" is no contradiction."""
    topic = (claim.kind, claim.quantity, claim.moment, claim.thing)
    if claim.kind == "compare":
        return *topic, frozenset(_compared_subjects(claim))
    if claim.kind == "extreme":  # two different subjects cannot both be the highest, so the subject is no part of it
        return topic
    return *topic, claim.subject, claim.place, claim.bound


def _clash(a: Claim, b: Claim) -> bool:
    """Return whether two claims of one topic cannot both be true."""
    if a.kind == "compare":
        if _compared_subjects(a) == _compared_subjects(b):
            return a.sign * (-1) ** a.denied != b.sign * (-1) ** b.denied
        return a.sign == b.sign and not a.denied and not b.denied  # "a is higher than b" and "b is higher than a"
    if a.kind == "extreme":
        return a.sign == b.sign and (a.subject != b.subject) and not (a.denied or b.denied)
    if a.kind in ("level", "trend"):
        # The same direction claimed and denied, or two opposite ones claimed; two denials leave the middle open.
        return (a.sign == b.sign and a.denied != b.denied) or (a.sign == -b.sign != 0 and not (a.denied or b.denied))
    if a.denied or b.denied or a.values is None or b.values is None or a.bound != "about":
        return False
    if a.kind == "count":
        return a.values != b.values
    scale = SCALES[a.quantity]
    # the distance between two ranges; each may be off by the tolerance
    gap = max(scale.steps(a.values[0]) - scale.steps(b.values[1]), scale.steps(b.values[0]) - scale.steps(a.values[1]))
    return a.kind == "value" and gap > 2 * scale.tolerance


def concludes(prompt: Prompt, chain: str, claims: Sequence[Claim], response: str) -> bool | None:
    """Return whether the response's answer is what the chain concludes; None where no conclusion is recognised."""
    listed_options = prompt.fields.get("options", prompt.fields.get("choices"))
    options = read_options(listed_options) if listed_options else {}
    answer = _option_text(answer_text(response), options) or _simplify(
        marked_answer(response) or stated_answer(response) or response
    )
    if not answer:
        return False
    # A question that asks for a comparison comes first: its answer follows from the claims, however the chain
    # concludes.
    by_comparison = _answer_by_comparison(prompt.question, claims)
    if by_comparison is not None and answer in ("first", "second"):
        return answer == by_comparison
    conclusions = list(_CONCLUSION.finditer(chain))
    if not conclusions:
        return _last_word(normalise_text(chain), claims, answer, list(map(normalise_text, options.values())))
    conclusion = conclusions[-1]["answer"]
    if options:
        option = _option_text(conclusion, options)
        if option:
            return option == answer
        texts = [text for text in map(normalise_text, options.values()) if _holds_word(text, _simplify(conclusion))]
        concludes_several = len(texts) + len(set(_LETTER.findall(conclusion))) > 1
        return False if concludes_several else None
    if _holds_word(answer, _simplify(conclusion)):
        return True
    answer_numbers, concluded_numbers = find_numbers(answer), find_numbers(_simplify(conclusion))
    if answer_numbers and concluded_numbers:
        return any(isclose(answer_numbers[-1], number) for number in concluded_numbers)
    # Words that differ may mean the same, except where "the answer is …" is followed by something else than a short answer.
    is_explicit = "answer" in conclusions[-1][0].lower()
    return False if is_explicit and len(answer.split()) <= 3 else None


def _option_text(text: str, options: Mapping[str, str]) -> str | None:
    """Return the text, in lower case, of the one option that a text chooses: as `choice` reads it, or by a small letter
    ("b" or "b."). None where it chooses none."""
    small = re.match(r"(?:option |choice )?\(?([b-j])(?:$|[).:,])", text.strip())  # not "a", which is an article
    letter = None
    if small and small[1].upper() in options:
        letter = small[1].upper()
    elif options:
        letter = chosen_letter(text, options)
    return None if letter is None else normalise_text(options[letter])


def _last_word(chain: str, claims: Sequence[Claim], answer: str, options: Sequence[str]) -> bool | None:
    """Return whether a chain without "so" or "therefore" concludes the answer: it ends with one of the options, counts up to
    a number, or describes with a word that is the answer or its opposite. None where it does none of these."""
    ends = [option for option in options if chain == option or chain.endswith(f" {option}")]
    if ends:
        return answer == max(ends, key=len)
    if len(claims) == 1 and claims[0].kind == "count" and claims[0].values and answer.isdecimal():
        return claims[0].values[0] == float(answer)
    for kind, words in (("level", LEVELS), ("trend", TRENDS)):
        if answer in words:
            quantity, sign = words[answer]
            matches = [c for c in claims if c.kind == kind and not c.denied and quantity in (None, c.quantity)]
            return matches[-1].sign == sign if matches else None
    return None


def _simplify(text: str) -> str:
    """Return a text in lower case, with numbers in digits."""
    return " ".join(str(NUMBERS[word]) if word in NUMBERS else word for word in normalise_text(text).split())


def _holds_word(part: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text) is not None


def _answer_by_comparison(question: str, claims: Sequence[Claim]) -> str | None:
    """Return the answer, "first" or "second", that the chain's last fitting comparison gives to a question like "which is
    lower?"; None for another question or without such a comparison."""
    comparatives = [COMPARATIVES[word] for word in re.findall(r"[a-z-]+", question.lower()) if word in COMPARATIVES]
    if len(comparatives) != 1:
        return None
    quantity, sign = comparatives[0]
    names = {place: name for name, place in ORDINALS.items() if name in ("first", "second")}
    for claim in reversed(claims):
        if claim.kind != "compare" or claim.quantity != (quantity or "pitch") or claim.denied:
            continue
        subject, rival = _compared_subjects(claim)
        if subject in names and rival in names:
            return names[subject if claim.sign == sign else rival]
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
