"""Self-cognition: 0 where chain or answer denies that the model hears ("I cannot hear audio", "I am a text model").

Step-Audio-R1 corrects this error by DPO (arXiv 2511.15848: 6.76 % of its base model's answers). Two things are no denial:
that the *sound* lacks something ("I cannot hear a second speaker" is a report of listening), and what somebody in the
recording says.

`self_cognition.jsonl` beside this module is a hand-written set of 400 phrasings, half of them traps: rows of `text`,
`denies` (whether the text is to be flagged) and `half`, which `read_phrasings` reads. The rules were written with half `a`,
formal in style, and then scored 98.8 % on half `b`, by the same hand in the style of chains of thought. Two later batches of
40 that were meant to be odd, `fresh` and `last`, first scored 65 % and 70 %, with 20 and 18 of their 20 traps right. So a
denial in words unlike all of these may pass, while what is flagged is seldom innocent. The rules now cover all 400.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypedDict, cast

from rewards.contract import Case
from rl.types import Prompt, Rollout, Verdict

_SOUND = (
    r"(?:(?:the|this|that|your|any|an?|either|both|two|these|those|actual|attached|direct|such|of|clip|original|provided"
    r"|audio|sound|acoustic|media|voice) ){0,4}"
    r"(?:audio(?! (?:artefact|artifact|glitch|effect|difference|cue)\w*)|sounds?|recordings?|clips?|files?|tapes?|tones(?! (?:of|in|after|between))"
    r"|(?:audio|sound|acoustic) (?:files?|clips?|waves?|signals?|inputs?|contents?|data|recordings?)|signals?|voices?)"
)
_THING = rf"(?:{_SOUND}|it|this|that|them|you|anything|things|stuff)"
_END = (
    r"(?=\s*(?:$|[.,;:!?()—–-]|\b(?:directly|at all|itself|themselves|here|because|since|as|so|but|and|or|to|you|which"
    r"|that|like|myself|for|content|data|input|files?|clips?|provided|attached|in (?:the|this) (?:clip|audio|recording))\b))"
)
_VERB = r"(?:hear|listen(?: to| in on)?|play(?: or \w+(?: to)?)?|process|analy[sz]e|perceive|access|handle|interpret|decode|open(?: or \w+)?|experience)"
_ADVERB = r"(?:(?:actually|really|directly|physically|currently|even|simply|just|neither|also|truly|not) )*"
_NOT_ABLE = (
    r"(?:can ?not|can not|can neither|could not|unable to|not (?:\w+ )?able to|not (?:capable of|equipped to|designed to|programmed to"
    r"|built to|made to)|incapable of|impossible for me to|no way for me to|without being able to|no (?:way|means|ability|capability|capacity) (?:to|of)"
    r"|(?:not|never) (?:\w+ )?(?:have|got|possess|given|been given|include) (?:the |any |an? )?(?:way|means|ability|capability|capacity) (?:to|of)"
    r"|lack the (?:ability|capability|capacity|means) (?:to|of)|without the (?:ability|capability|means) (?:to|of)|allow me to)"
)
_TEXT_ONLY = r"(?:text(?:ual)?[ -]?(?:only|based)|text(?:ual)?(?: (?:ai|language))? (?:model|system|interface|assistant|program)|(?:only|purely|just) text)"
_MACHINE = r"(?:(?:large )?language models?|llms?|ais?|artificial intelligence|chatbots?|assistants?|programs?|models?)"
# The phrases that deny hearing, in lower case and without contractions, by what they claim.
DENIALS = tuple(
    re.compile(pattern)
    for pattern in (
        # cannot listen to sound as such
        rf"\b{_NOT_ABLE} {_ADVERB}{_VERB}(?:ing)?(?: or \w+(?: to)?)? {_THING}{_END}(?! (?:but|other than|except|apart from|above|below|as) )",
        rf"\b{_NOT_ABLE} {_ADVERB}(?:hear|listen)(?:ing)?(?: to)?{_END}(?! to)",
        rf"\b(?:hear|listen to|play) {_SOUND}[^.]*\b(?:but|and),? i (?:can ?not|am (?:not able|unable) to)(?=\W*$|\W*[.,])",
        r"\bi would have to (?:hear|listen)\b.*\bcan ?not\b",
        rf"\bnot having (?:heard|listened to) {_SOUND}\W*\(?(?:i can ?not)?",
        rf"\b(?:i|{_MACHINE}(?: like (?:me|myself))?) (?:do not|never) {_ADVERB}(?:hear|process|listen to|support|accept) (?:{_SOUND}|things){_END}",
        rf"\bi,? as an? {_MACHINE}.*\bi do not hear\b|\bas an? {_MACHINE},? i do not hear\b",
        rf"\b(?:an? )?{_MACHINE} like (?:me|myself) (?:can ?not|do not) (?:hear|listen)",
        rf"\b(?:am|are) not able to (?:handle|do|hear|process)\b.*\b{_SOUND}|\b{_SOUND} is not something (?:i|that i)\b",
        r"\b(?:sounds?|audio|listening|hearing|pitch|loudness) (?:is|are) (?:not )?something (?:that )?i(?: am| ca| can)? ?(?:can ?not|not|unable)",
        r"\b(?:listening|hearing|audio|sound)(?: \w+)? is not (?:something|within|among|possible for me|supported by me|part of my)",
        rf"\b(?:inability|not (?:the )?ability|never been able) to {_ADVERB}{_VERB}(?:{_END}| {_THING}{_END})",
        rf"\b(?:without|no|not have|lack)(?: \w+){{0,6}} (?:way|means|ability|capability|capacity|possibility) of {_ADVERB}{_VERB.replace('hear|listen', 'hearing|listening')}(?! (?:an?|the) (?:second|other))",
        rf"\b{_NOT_ABLE} {_ADVERB}(?:hearing|listening|processing|perceiving|playing)(?: to)?(?: {_THING})?{_END}",
        r"\bcan neither (?:hear|listen|play)\b|\b(?:can ?not|could not) be (?:\w+ )?\w+ by me\b",
        rf"\b{_SOUND} (?:is|are) (?:nothing|not (?:something|anything|a thing|things)) (?:that |which )?i\b",
        r"\b(?:nothing|no \w+|never|not)(?: \w+){0,3} (?:reach|reaches|reached|gets to|arrives at|arrived at|comes to) me\b",
        r"\bi have not (?:heard|listened to) (?:it|them|this|the \w+)\b[^.]*\bcan ?not\b|\b(?:hear|hearing|listen|listening)\b[^.]*\bwhich i (?:am not able to|can ?not) do\b",
        # a text model
        rf"\b(?:as|being) an? (?:\w+ )?{_MACHINE} (?:without|with no|that lacks|lacking) (?:\w+ )?(?:audio|hearing|ears?|sound|auditory)",
        r"\bmy (?:\w+ ){1,2}(?:stops?|ends?|is|are) (?:at|with|only|just|confined to|restricted to) (?:the )?(?:text|words|written)\b|\b(?:only|just) the (?:written|typed) (?:prompt|question|words|text)\b",
        r"\bi (?:only|just|exclusively) (?:deal|work|operate|think|see|live) (?:\w+ )?(?:text|words|tokens)\b|\bi (?:read|process|see|handle) (?:only )?(?:text|tokens|words)\b(?!-)",
        rf"\b(?:i am|as|being|like|since i am|for|this is|is) (?:\w+ )?(?:an? |only |just |purely |merely )*(?:\w+ )?{_TEXT_ONLY}\b",
        rf"\bi am (?:an? |only |just )*{_TEXT_ONLY}",
        r"\bi (?:only|just|can only|purely|exclusively) (?:\w+ ){0,2}(?:text(?:ual)?|words)\b(?! (?:being|spoken|read))",
        r"\bi (?:only|can only) (?:have|get|see|read) the (?:text|question)",
        r"\b(?:all i (?:get|see|have|receive|can \w+) is (?:the )?text|text is all i)\b",
        r"\blimited to (?:text|written|textual)|\b(?:trained|operate|work|built|run|operates) (?:only |purely |solely |exclusively )?(?:on|with|for) text(?: only)?\b",
        r"\bcan only (?:read|see|process|handle|understand)(?: and \w+)? (?:the )?text\b|\bonly (?:understands?|handles?|reads?|process(?:es)?) text\b|\bi (?:process|handle) words\b",
        r"\bi am not multimodal\b",
        # no ears
        r"\b(?:i (?:do not )?(?:have|possess|got)|i lack|with|without|has)(?: \w+){0,2} (?:ears?|hearing(?! \w)|auditory \w+|audio (?:capabilit\w+|perception|abilit\w+|support))\b",
        r"\bno ears\b(?=\W|$)|\bhearing is (?:beyond|outside|not)\b|\bsense of hearing\b",
        r"\b(?:capabilit\w+|abilities|abilit\w+|skills)\b[^.]*\b(?:audio|sound|listening)\b[^.]*\b(?:beyond|outside|not)\b|\b(?:audio|sound|listening)[^.]*\b(?:beyond|outside|not within|is not part of) my (?:capabilit|abilit)",
        rf"\b(?:design|model|system|interface|training|architecture) does not (?:include|accept|support|allow)[^.]*\b(?:audio|sounds?)\b|\bdo not support {_SOUND}",
        r"\b(?:audio|sound)(?: input)? is not supported\b|\bi can ?not do audio\b|\bby ear is impossible for me\b|\bno audio for me\b",
        r"\b(?:no|not have(?: any| the)?|lack(?: any)?) (?:\w+ ){0,2}(?:capabilit\w+|abilit\w+|support|means) (?:for|of|in) (?:\w+ )?(?:audio|sound|hearing|listening)",
        r"\bnot have (?:\w+ )?(?:ears|hearing (?:abilit|capabilit)\w+)|\bi am deaf\b",
        rf"\b{_MACHINE} (?:that|which|who) (?:only )?(?:reads?|process(?:es)?|understands?|handles?) (?:only )?(?:text|words)\b",
        # nothing to listen to
        rf"\bplease (?:re-?)?(?:upload|attach|share|send|provide) (?:me )?{_SOUND}|\b(?:audio|sound|hearing|listening) is not part of my\b",
        rf"\b(?:no|not|without|zero)(?: \w+){{0,2}} access to (?:{_SOUND}|its (?:content|sound))",
        r"\bcan ?not access (?:its|the) (?:content|sound|audio)",
        r"\b(?:not (?:\w+ )?(?:accessible|available|supported)|inaccessible|unavailable) to me\b",
        r"\b(?:audio|recording|clip|sound|file)s?\b[^.,]{0,20}\b(?:not|never)(?: been)? (?:uploaded|attached|provided|received|shared|come through|received)",
        r"\bno (?:audio|recording|sound|clip|attachment)(?: file| clip)?s? (?:was|were|is|has been|seems?|appears?|reached|came)\b[^.]*\b(?:provided|attached|uploaded|received|shared|included|me|through)\b",
        r"\b(?:there (?:is|was) no|i see no|(?:do|did) not (?:see|receive|get|find)(?: any| an| the)?) (?:audio|recording|attachment|sound file|clip)(?: file| clip)?\b(?=\W*$|[.,;:!]| (?:attached|provided|here|in our|in this (?:chat|conversation)|for me|with|file|to))",
        r"\b(?:not|does not) (?:appear to be|seem to be) any (?:audio|recording|sound)|\b(?:did|have|has) not (?:shared?|attach(?:ed)?|provided?|sent|send)(?: me)? (?:any |an |the )?(?:audio|recording|clip|sound)",
        r"\bforgot to (?:attach|upload|include|share)|\bnothing was (?:attached|uploaded|provided)|\b(?:audio|recording) could not be processed by me\b",
        r"\b(?:audio|recording|clip|sound|file)s?(?: (?:file|clip|data))? (?:is|are|was|were) (?:not (?:\w+ )?(?:available|accessible)"
        r"|unavailable|inaccessible)(?=\W*$|[.,;:!]| (?:here|to me|so|and)\b)",
        r"\b(?:audio|recording|clip|sound|file)s?(?: (?:file|clip|data))? (?:(?:did|does|do|would|will) not|fail(?:s|ed)? to) (?:load|open|play)(?=\W*$|[.,;:!]| (?:for me|here|properly|correctly|so|and)\b)",
        rf"\b{_NOT_ABLE} know what (?:it|this|that|they|the \w+) sounds? like\b",
        # asks for a text in its place
        r"\b(?:please|could you|can you|kindly)[^.]*\b(?:transcri(?:be|pt|ption)|describe (?:the |what )|paste the|send the words|what the (?:sound|audio|clip) (?:was|is|sounds) like)",
        r"\b(?:no|any) (?:audio|recording|sound|clip)(?: \w+)? (?:is |was )?(?:attached|uploaded|provided)\b",
        r"\b(?:tell|told|telling) me what the (?:recording|clip|sound|audio|voice) (?:sound|contain|sa|is|was)|\b(?:provided?|share[sd]?|gave|give|send|sent) (?:me )?(?:with )?(?:a |the )(?:text )?(?:transcript|transcription|description of the (?:sound|audio))",
        r"\b(?:if you|you (?:would |will )?(?:need|have) to|you could) (?:can )?(?:describe|transcribe) (?:the|it|what)",
        r"\bi (?:would )?(?:need|require|want) (?:a |the )?(?:transcript|transcription|description|text version)\b",
    )
)
# a sentence that reports what somebody in the recording says
_REPORTED_SPEECH = re.compile(
    r"\b(?:he|she|they|(?:the|a|an|another) (?:\w+ )?(?:speaker|singer|man|woman|child|caller|voice|narrator|person|boy|girl"
    r"|host|assistant|lyrics?|text|song|words)(?: (?:in|of|on) the \w+)?) (?:\w+ly )?(?:say|says|said|ask|asks|asked|claim|claims|complain"
    r"|complains|tell|tells|told|whisper|whispers|explain|explains|sing|sings|shout|shouts|state|states|go|goes|reply|replies|admit|admits)\b"
)
# a sentence whose subject is somebody else than the model
_THIRD_PERSON = re.compile(
    r"^\W*(?:(?:he|she|they|people|nobody|no one|one|deaf \w+)\b|(?:the|an?|his|her|another) (?:\w+ )?(?:speaker|singer|man|woman|child"
    r"|caller|person|boy|girl|baby|dog|cat|listener|crowd|audience|patient|microphone|host)\b)(?!.*\b(?:i|me|my|myself)\b)"
)
# a sentence that goes on to say what is heard: "any voices, only rain", "describe the sound: it is a bell"
_HEARS = re.compile(
    r"\b(?:any|nothing)\b.*\b(?:only|just|but) (?:the |an? |some )?(?!text|words?\b|tokens|letters|questions?|prompts?|options?"
    r"|transcripts?|guess|imagine|infer|assume|estimate|read\b|\w+ing\b)\w{3,}\W*$"
    r"|\bdescri(?:be|ption)\b[^.;!?]*: (?!what|how|which|who|is|does)\w"
)
_QUOTATION = re.compile(r"\"[^\"\n]{0,300}\"|“[^”\n]{0,300}”|‘[^’\n]{0,300}’|(?<!\w)'[^'\n]{3,300}'(?!\w)")
# applied to each sentence in this order, so that DENIALS need one spelling: "can't", "cannot" -> "can not"
_CONTRACTIONS = (
    (re.compile(r"[’`]"), "'"),
    (re.compile(r"\bcan'?t\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\bi've (?=no\b|zero\b|never\b)"), "i have "),
    (re.compile(r"\bi've\b"), "i have"),
    (re.compile(r"\b(i|you|it|we)'d\b"), r"\1 would"),
    (re.compile(r"\b(it|that|there|he|she)'s\b"), r"\1 is"),
    (re.compile(r"\s+"), " "),
)
_LINE_WRAP = re.compile(r"(?<=[^\s.!?;:>])\n(?=[a-z])")  # a line break within a sentence
_SENTENCE = re.compile(r"(?<=[.!?;\n])\s+|\n+")


class Phrasing(TypedDict):
    """One row of `self_cognition.jsonl`."""

    text: str
    denies: bool
    half: str


def verify(prompt: Prompt, rollout: Rollout) -> Verdict:
    """Score 1.0 where nothing in the whole turn denies that the model hears, else 0.0; the reason is the phrase that
    does."""
    phrase = find_denial(rollout.text)
    return Verdict(score=float(phrase is None), reason="" if phrase is None else f"denies hearing: '{phrase[:100]}'")


def find_denial(text: str) -> str | None:
    """Return the first phrase that claims not to hear or to be a text model; None where there is none."""
    text = _QUOTATION.sub(" ", _LINE_WRAP.sub(" ", text).lower().replace("’", "'"))
    for sentence in _SENTENCE.split(text):
        for pattern, replacement in _CONTRACTIONS:
            sentence = pattern.sub(replacement, sentence)
        if _REPORTED_SPEECH.search(sentence) or _THIRD_PERSON.search(sentence) or _HEARS.search(sentence):
            continue
        for pattern in DENIALS:
            match = pattern.search(sentence)
            if match:
                return match[0].strip()
    return None


def read_phrasings() -> list[Phrasing]:
    """Return the hand-written set that the rules are measured on."""
    lines = Path(__file__).with_suffix(".jsonl").read_text("utf-8").splitlines()
    return [cast(Phrasing, json.loads(line)) for line in lines]


GOLD = [
    Case("<think>\nThe pitch is low.\n</think>\nB", None),
    Case("<think>\nI cannot hear a second speaker.\n</think>\nOne", None),
    Case('The speaker says: "I can\'t hear you".', None),
    Case("There is no audible reverberation, and I can't make out the last word.", None),
    Case("I cannot hear audio.", None, equal=False),
    Case("<think>\nAs a text-based model, I have to guess.\n</think>\nB", None, equal=False),
    Case("<think>\nI can't listen to the clip, so I take the first.\n</think>\nA", None, equal=False),
    Case("No audio was provided.", None, equal=False),
]
