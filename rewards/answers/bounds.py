"""Tells numbers that a sentence only bounds ("at least 7", "7 or more"), alters ("half of 7") or asks about from those that
it gives."""

from __future__ import annotations

import re

from rewards.answers.notation import EDGE, WORD_MARK

_ABOUT = rf"(?:\s|{EDGE}|{WORD_MARK}|[*$(\"“]|\b(?:about|roughly|approximately|around|exactly|only|the|a|an|or\s+equal\s+to)\b)*\Z"
_COMPARATIVE = r"(?:more|less|fewer|greater|smaller|larger|higher|lower|bigger|older|younger|longer|shorter)"
_BEFORE = re.compile(
    r"(?:\b(?:"
    rf"at\s+(?:the\s+)?(?:very\s+)?(?:least|most|minimum|maximum)|(?<!never ){_COMPARATIVE}\s+than(?:\s+or\s+equal\s+to)?"
    r"|over|under|above|below|beneath|beyond|as\s+(?:many|much|few|little|high|low)\s+as|(?<!add )(?<!adds )(?<!adding )(?<!sum )(?<!sums )(?<!comes )up\s+to|upwards?\s+of|(?:north|south|short|shy|in\s+excess)\s+of|between(?:\s+[\w.-]+(?:\s+\w+)?\s+and)?"
    r"|exceeds?|exceeding|(?:minimum|maximum)\s+of|such\s+as|includ(?:e|es|ing)"
    # what alters the number behind it
    r"|twice|thrice|double|triple|quadruple|half|(?:half|third|quarter|fifth|tenth|opposite|negative|inverse|reciprocal|complement"
    r"|root|square|cube|factorial|multiple|divisor|factor)s?\s+of|times|multiplied\s+by|divided\s+by|to\s+the\s+power(?:\s+of)?"
    r"|(?<=\d )(?:plus|minus|mod|modulo)"
    r"|mindestens|wenigstens|höchstens|maximal|minimal|(?:mehr|weniger|größer|kleiner)\s+als|über|unter|bis\s+zu|zwischen"
    r"|au\s+(?:moins|plus|maximum|minimum)|(?:plus|moins)\s+(?:de|que)|jusqu['’]à|(?:supérieur|inférieur)e?\s+à|entre"
    r"|(?:al|por\s+lo)\s+menos|como\s+(?:mínimo|máximo)|a\s+lo\s+sumo|(?:más|menos)\s+(?:de|que)|hasta|(?:mayor|menor)\s+(?:que|o\s+igual\s+a)"
    r"|almeno|al\s+massimo|(?:più|meno)\s+di|pelo\s+menos|no\s+máximo|mais\s+(?:de|que)"
    r"|не\s+(?:менее|более|меньше|больше)|более|менее|больше|меньше|свыше|до|как\s+минимум|максимум|минимум|от"
    r"|على\s+(?:الأقل|الأكثر)|(?:أكثر|أقل|أكبر|أصغر)\s+من|कम\s+से\s+कम|अधिकतम"
    rf"){_ABOUT})"
    rf"|(?:[<>]|\\(?:le|ge|ne)(?![a-z])|至少|至多|最多|最少|不到|不足|不超过|不少于|不多于|超过|多于|少于|大于|小于|高于|低于|少なくとも|多くとも|最大(?![はがのＡ值])|最小(?![はがの值])"
    rf"|최소|최대|적어도|많아야|기껏해야){_ABOUT}",
    re.IGNORECASE,
)
_MORE_WORD = r"(?:more|less|fewer|greater|above|below|higher|lower|over|under|larger|smaller|bigger|beyond)"
_AFTER = re.compile(
    rf"(?:(?:\s+{WORD_MARK}?[^\W\d_]+){{0,2}}\s+(?:(?:or|and|oder|ou|o|или)\s+(?:more|less|fewer|mehr|weniger|plus|moins|más|menos|больше|меньше)|at\s+(?:least|most))(?=\s*(?:[.,;!?)]|$))|\s*,?\s*(?:(?:{WORD_MARK}?(?:or|and)\s+(?:even\s+)?{_MORE_WORD}|{WORD_MARK}?and\s+(?:up|upwards?|counting)"
    rf"|{WORD_MARK}?at\s+(?:the\s+)?(?:very\s+)?(?:least|most|minimum|maximum)|{WORD_MARK}?(?:tops|minimum|maximum|max)(?=\s*(?:[.,;!)]|$))"
    rf"|{WORD_MARK}?(?:times|plus|minus)(?=\s+(?:\d|\\|x\b|itself|the\b))|{WORD_MARK}?(?:squared|cubed|doubled|tripled|halved|factorial|modulo|mod)(?!\s+(?:met|cent|in|f|y|k|mi))"
    r"|oder\s+(?:mehr|weniger)|ou\s+(?:plus|moins)|o\s+(?:más|menos)|или\s+(?:больше|меньше|более|менее)|и\s+более|либо\s+больше)\b"
    r"|\+(?!\s*\d)|[個个人개명円원]?(?:以上|以下|以内|以內|未満|未满|を超え|より(?:大|小|多|少)|或(?:以上|更多|更少)|이상|이하|미만|초과)|\s*से\s*(?:अधिक|कम|ज़्यादा)))",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"[^\w¿]*(?:(?:so|then|and|but|or|hmm+|well|now|wait|okay|ok)\b[\s,.]*)*(?:is|isn['’]t|are|was|were|could|couldn['’]t|would|can|might|may|should|does|do|did"
    r"|will|what|why|how|which|who|has|have|¿|est-ce|est|ist|sind|wäre|könnte|wie|was|warum|combien|quel\w*|es|cuánt\w*|qué)(?![\w])",
    re.IGNORECASE,
)
_QUESTION_END = re.compile(r"[^.!?\n]*?(?P<particle>[吗嗎か까])?\s*\?(?!\s*(?:[\"”’)]*\s*)(?:yes|yep|yeah|correct|right|indeed|exactly|ja|oui|sí|да|是的?|はい|네)\b)", re.IGNORECASE)  # fmt: skip
_ALTERNATIVE_LABEL = re.compile(
    r"\b(?:(?:option|answer|guess|possibility|candidate|choice)\s+(?:\d|one|two|three|[A-C])|(?:first|second|third|another|other|next|alternative)"
    r"\s+(?:option|answer|guess|possibility|candidate|choice))\s*(?:is|:|=)",
    re.IGNORECASE,
)


def is_bounded_before(lead: str) -> bool:
    """Return whether the text before a number bounds or alters it: "at least", "half of"."""
    return _BEFORE.search(lead[-80:].replace(WORD_MARK, "")) is not None


def is_bounded_after(text: str, end: int) -> bool:
    """Return whether what follows a number that ends there bounds or alters it: "or more", "squared"."""
    return _AFTER.match(text, end) is not None


def is_asked(text: str, sentence_start: int, end: int) -> bool:
    """Return whether the sentence that holds a number asks ("Is it 7?") and is not answered by a yes."""
    question_end = _QUESTION_END.match(text, end, end + 200)
    if question_end is None:
        return False
    return bool(question_end["particle"]) or _QUESTION.match(text, sentence_start) is not None


def offers_alternatives(text: str) -> bool:
    """Return whether a text offers several answers under labels: "Option 1: 74. Option 2: 75"."""
    labels = {label[0].casefold() for label in _ALTERNATIVE_LABEL.finditer(text)}
    return len(labels) > 1
