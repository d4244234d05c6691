"""Drops what a response denies ("not 42", "anything but C"), calls wrong, or corrects ("no, wait: …").

Each verifier says for itself what an answer looks like: it hands in a regular expression without groups, the *atom*. The
rules read English; of other languages they know the plainest denials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from rewards.answers.marks import STATEMENT, marked_answer, stated_answer

_NEAR = 80  # characters before an answer in which a denial of it is looked for
_FILLER = (
    r"(?:[\s*$(\"'“‘]|\\[(\[]|\\text\{|(?:be|just|simply|either|both|exactly|quite|really|actually|necessarily|even|about|equal|to"
    r"|the|an?|option|choice|answer|(?:is|was)\s+it)\b)*+"
)
# at most six words of the clause that a doubt governs: "I doubt that it is …"
_CLAUSE = r"(?:\s+(?!(?:but|so|and|then|because|since|until|just)\b)[^\W\d]+(?:['’][^\W\d]+)?){0,6}+[\s*$(\"'“‘]*+"
_SUBJECT = (
    r"(?:it|this|that|(?:the|our|my)\s+(?:final\s+|correct\s+)?(?:answer|result|total|value|number|sum|solution))"
)
# a denial that ends right before an answer ("not", "anything but", "ruled out")
_DENIAL = re.compile(
    r"(?:(?<![\w\\])(?:(?<!\bor )(?<!\bwhy )not|(?:nor|neither)(?:\s+(?:is|was|can|could|would|does|do)\s+(?:it|this|that|the\s+(?:answer|result))(?:\s+equal)?)?|never|(?:isn|wasn|aren|weren)['’]t"
    r"|(?:cannot|can['’]t|couldn['’]t|can(?:['’]|no|\s+no)t\s+possibly|could\s+(?:never|not))\s+be"
    r"|(?:should|would|could|might|must|will|wo|can)(?:n['’]t|\s+not)\s+(?:possibly\s+)?be|(?:unlikely|impossible)\s+to\s+be|rather\s+than|instead\s+of|(?:rul|eliminat|exclud|reject|discard|dismiss|disregard)(?:e|es|ed|ing)?(?:\s+out)?"
    r"|(?:wrong|incorrect)\s+(?:\w+\s+)?(?:is|was|would\s+be|:)|(?:by|in)\s+no\s+(?:means|way)|under\s+no\s+circumstances|no\s+longer|(?:(?:do|does|did|wo|will|would|could|can)(?:n['’]t|\s*not)|never)\s+(?:equal|equals|gets?|gives?|comes?\s+to|makes?|yields?|obtain|reach)|(?<!\w\s)(?:wrong|incorrect)\s*:|auf\s+keinen\s+Fall"
    r"|far\s+from|nowhere\s+near|unlike|differ(?:s|ent)?\s+from|distinct\s+from|(?<!n['’]t )(?<!not )(?:forget|ignore|avoid)"
    r"|nicht|kein(?:e|er|es|eswegs|esfalls)?|niemals|pas|jamais|no\s+(?:es|son|fue|fueron|era|eran|puede\s+ser)|nunca|non\s+(?:è|sono)|não\s+é|niet|не"
    r"|ليس|ليست|لا\s+يساوي"
    r"|(?P<all_but>(?:any|every|all)(?:thing|one|\s+\w+)?\s+but|other\s+than|except(?:\s+for)?))"
    r"|不是|不等于|不等於|并非|並非|绝非|不可能是|不会是|不為|不为|排除|没有|沒有)" + _FILLER + r"\Z",
    re.IGNORECASE,
)
# a doubt or a condition whose clause holds the answer ("I don't think it is", "if it were")
_DOUBT = re.compile(
    r"(?<![\w\\])(?:"
    r"(?:(?:don|doesn|didn|can|wouldn|won|shouldn|couldn)['’]t|(?:do|does|did|can|would|will|should|could)\s*not|hardly|never"
    r"|(?:nobody|no\s*one|no\s+sane\s+\w+)(?:\s+(?:would|could|will))?)"
    r"\s+(?:ever\s+)?(?:think|thinks|believe|believes|say|says|guess|accept|suppose|claim|claims|choose|pick|bet|answer|conclude)"
    r"|(?:I|we)\s+(?:highly\s+|strongly\s+|really\s+)?(?:doubt|deny|refuse)|(?:there\s+is|there['’]s|it\s+is|it['’]s)?\s*no\s+(?:way|chance)|not\s+(?:saying|claiming|suggesting|convinced)"
    r"|(?:mistake|wrong|incorrect|silly|absurd|foolish|tempting|easy)\s+to\s+(?:say|think|answer|believe|claim|guess|conclude|assume)"
    r"|(?:impossible|false|untrue|unlikely|not\s+true|not\s+the\s+case|a\s+lie|a\s+myth)\s+(?:that|for)"
    r"|(?:one|you|some|many|people|others)\s+(?:might|may|could|would)\s+(?:think|say|guess|believe|assume|expect|answer)"
    rf"|(?:if|unless|whether|suppos(?:e|ing)|assum(?:e|ing)|imagine|pretend(?:ing)?)\s+(?:that\s+)?{_SUBJECT}\s+"
    r"(?:is|was|were|be|equals|equaled|had\s+been|could\s+be)"
    rf")\b{_CLAUSE}\Z",
    re.IGNORECASE,
)
_NEGATIVE = re.compile(  # "none other than 42", "all ruled out except 42" deny nothing
    r"(?:\b(?:no|none|nothing|not|never|cannot|out|eliminated|excluded|wrong|incorrect)\b|n['’]t\b)[^.;!?\n]*\Z", re.I
)
_FALSE = (
    r"(?:wrong|incorrect|mistaken|false|impossible|invalid|unlikely|absurd|nonsense|(?:a|the)\s+(?:mistake|trap|lie|wrong\s+\w+)"
    r"|(?:ruled\s+)?out(?:\s+of\s+the\s+question)?(?=\s*(?:[.,;!?)]|$))|ruled\s+out|excluded|eliminated|rejected|disproved"
    r"|too\s+(?:high|low|big|small|large|much|many|few|little)|one\s+(?:of\s+(?:the|several|many)|possible|candidate)"
    r"|no\s+(?:solution|answer)|not\s+(?:right|correct|true|it|possible|valid|(?:an?|the)\s+(?:\w+\s+)?(?:answer|one|option|result|solution)))"
)
# a verdict right after an answer ("is wrong", "can't be right")
_WRONG = re.compile(
    r"(?!,?\s*(?:that|this|it)(?:\s+is|['’]s)\s+false)[\s*$)\"'”’}?.,]{0,12}+(?:(?:but\s+)?(?:which|that|this|it|they|these)(?:\s+|(?=['’]s)))?"
    rf"(?:(?:is|was|are|were|seems|looks|(?:would|must|can|has|have)\s+(?:be|been)|(?:has|have|had|turn(?:s|ed)\s+out|prove[sd])\s+to\s+(?:be|have\s+been)|gets|['’]s)(?:\s+\w+)?\s+{_FALSE}"
    r"|(?:(?:isn|wasn)['’]t|can(?:not|['’]t)\s+be)\s+(?:right|correct|true|it|possible|valid|the\s+(?:right\s+|correct\s+)?(?:answer|one))"
    r"|(?:(?:does|do|did|will|would|can)(?:n['’]t|\s+not)|won['’]t|cannot|fails\s+to)\s+(?:work|fit|hold|do|satisfy|make\s+sense|add\s+up|match))\b"
    r"|[^.;!?\n\d]{0,40}\bbut\s+(?:it|that|this|they|I|he|she)(?:\s+(?:is|was|are|were)|['’]s)\s+(?:wrong|incorrect|mistaken|false)\b"
    r"|\s+(?:ist\s+es\s+nicht|fail(?:s|ed)(?=\s*(?:[.,;!?)]|$)))"
    r"|,?\s*but\s+(?:it['’]?s\s+|it\s+is\s+)?not(?:\s+(?:quite|exactly|really|right|correct))?(?=\s*(?:[.,;!?)]|$))"
    r"|[\s*$.?!:–—-]{0,12}+\(?(?:wrong|incorrect|false)\b(?=\s*(?:[.!?)\n]|$))|\s*\?\s*no\s*(?=[.!\n]|$)|\s*(?:[✗❌✘])"
    r"|\s*(?:ist\s+(?:falsch|nicht)|est\s+(?:faux|fausse|incorrect)|es\s+(?:incorrect[oa]|fals[oa])|no\s+es|n['’]est\s+pas|неверно|неправильно|غير\s+صحيح|خطأ)\b"
    r"|\s*[\u3040-\u9fff\uac00-\ud7a3]{0,6}?\s*(?:では(?:ありません|ない|なく)|じゃない|は(?:間違|違|誤)|[은는이가]\s*(?:아니|아닙|틀)"
    r"|不是(?:答案|正[确確]|[对對])|नहीं|गलत|是?(?:错|錯)|不(?:对|對|正确|正確|成立)|是不(?:对|可能))|(?:\s*[\u0900-\u097f]{1,12}){1,3}?\s*नहीं",
    re.IGNORECASE,
)
# between answers that share a denial ("neither 41 nor 42")
_OR = re.compile(r"[\s*$)]*(?:,?\s*n?or|and)\s+[*$(]*", re.IGNORECASE)
# the words of a correction; `_compile_correction` wants an answer right behind them
_CORRECTION = (
    r"(?:^|(?<=[.,;:!?(\n—–-])|(?<=[.,;:!?(—–-]\s))\s{0,4}(?:(?:oh|but|hmm),?\s+)?"
    r"(?:no,?\s+wait|wait(?=\s*[,.:;!—–-])|no(?=\s*[,.:;!—–-])|nope|actually|correction|scratch\s+that|sorry|I\s+mean"
    r"|on\s+second\s+thoughts?|make\s+(?:that|it)|or\s+rather)\b(?:[\s,.:;!—–-]|(?:no|wait|sorry|actually)\b){0,12}"
)
_LEAD_IN = r"(?:(?:so|then|it|that|this|the|my|correct|right|final|is|was|should|must|be|I|mean|meant|think)\b|[\s,:*$(\"]|['’]s\b){0,24}"


def drop_retracted(text: str, atom: str) -> str:
    """Return the part of a text that still holds: without the answers that it denies, from its last correction on."""
    return after_correction(drop_denied(text, atom), atom)


def drop_denied(text: str, atom: str) -> str:
    """Return the text without the answers that it denies or calls wrong: "not 41 but 42" keeps 42, "B is wrong" none."""
    answers = [answer.span() for answer in _compile(atom).finditer(text)]
    pieces: list[str] = []
    end = 0
    for (start, stop), is_denied in zip(answers, denied_spans(text, answers), strict=True):
        if is_denied:
            pieces += text[end:start], " "
            end = stop
    return "".join([*pieces, text[end:]])


def denied_spans(text: str, answers: Sequence[tuple[int, int]]) -> list[bool]:
    """Return for each answer, given as (start, end) in the text, whether the text denies it or calls it wrong."""
    ends = [0, *(end for _, end in answers)]
    before = [  # by what stands between the answer before and this one, at most _NEAR characters
        _denial_of(text, max(end, start - _NEAR), start) for end, (start, _) in zip(ends, answers, strict=False)
    ]
    denied_after = [_WRONG.match(text, end) is not None for _, end in answers]
    neighbours = [i for i, (a, b) in enumerate(pairwise(answers)) if _OR.fullmatch(text, a[1], b[0])]
    for i in neighbours:  # "neither 41 nor 42"
        before[i + 1] = before[i + 1] or before[i]
    for i in reversed(neighbours):  # "41 and 42 are wrong"
        denied_after[i] |= denied_after[i + 1]
    # "every option but C is wrong" denies twice
    denied = [
        after != (kind == "all but") if after else bool(kind) for kind, after in zip(before, denied_after, strict=True)
    ]
    mentions = [text[start:end] for start, end in answers]
    later: set[str] = set()
    for i in reversed(range(len(mentions))):  # "It looks like 42, but it is not 42"
        if denied[i]:
            later.add(mentions[i])
        denied[i] = denied[i] or mentions[i] in later
    return denied


def _denial_of(text: str, start: int, end: int) -> str:
    """Return how text[start:end] denies the answer that follows it: "not", "all but", or "" where it does not."""
    denial = _DENIAL.search(text, start, end)
    if denial is None:
        return "not" if _DOUBT.search(text, start, end) else ""
    if not denial["all_but"]:
        return "not"
    return "" if _NEGATIVE.search(text, start, denial.start()) else "all but"


def is_doubted(text: str) -> bool:
    """Return whether what follows a text is denied or doubted by its end: "I don't think"."""
    start = max(0, len(text) - _NEAR)
    return bool(_denial_of(text, start, len(text)))


def after_correction(text: str, atom: str) -> str:
    """Return the text from its last correction on ("no, wait", "actually", with another answer right behind it)."""
    cuts = [correction.end() for correction in _compile_correction(atom).finditer(text)]
    rest = text[cuts[-1] :] if cuts else text
    # A marked answer is not taken back by an aside that marks and states none: "\boxed{42}. Actually, 43 is prime".
    is_aside = marked_answer(text) is not None and marked_answer(rest) is None and stated_answer(rest) is None
    return text if is_aside else rest


@lru_cache(maxsize=256)  # an atom may hold the texts of a prompt's options, and several samples of a prompt are judged
def _compile(atom: str) -> re.Pattern[str]:
    return re.compile(atom)


@lru_cache(maxsize=256)
def _compile_correction(atom: str) -> re.Pattern[str]:
    return re.compile(rf"(?i:{_CORRECTION})(?=(?i:{_LEAD_IN})(?:{atom}|(?i:{STATEMENT})))")
