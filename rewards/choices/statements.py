"""Holds patterns of what an answer says around the letter of an option: statements ("the answer is", "I choose", 答案是),
denials and joints, in English and, more plainly, in some thirty other languages."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LETTER = r"\(?(?<![\w'’])(?-i:[A-Z])(?![\w'’])\)?"

# language -> (nouns that an answer is called by, words that join them to the letter)
_NOUNS = {
    "en": (
        r"answer|ans\.?|choice|option|selection|pick|solution|alternative|response|guess|(?:correct|right|best|final)\s+one",
        r"is|(?:must|should|would|will|has\s+to|have\s+to|seems\s+to|appears\s+to|turns\s+out\s+to|going\s+to)\s+be|remains",
    ),
    "fr": (r"r[ée]ponse|choix|solution|option|proposition|lettre", r"est|serait|doit\s+être|sera|reste"),
    "de": (r"antwort|lösung|auswahl|wahl|option|möglichkeit", r"ist|lautet|wäre|muss\s+lauten"),
    "es": (r"respuesta|opci[óo]n|alternativa|soluci[óo]n|elecci[óo]n|letra", r"es|ser[íi]a|debe\s+ser|será"),
    "pt": (r"resposta|op[çc][ãa]o|alternativa|solu[çc][ãa]o|letra|escolha", r"é|seria|deve\s+ser|será"),
    "it": (r"risposta|opzione|scelta|soluzione|alternativa|lettera", r"è|sarebbe|deve\s+essere|sarà"),
    "nl": (r"antwoord|optie|keuze|oplossing", r"is|luidt"),
    "pl": (r"odpowied[źz]|opcja|wyb[óo]r|rozwiązanie", r"to|jest|brzmi|jest\s+to"),
    "cs": (r"odpov[ěe][ďd]|možnost|volba|odpoveď", r"je"),
    "ru": (r"ответ|вариант|выбор|відповідь|варіант|отговор(?:ът)?", r"это|является|будет|є|е"),
    "nordic": (r"svaret?|alternativet?|valget|vastaus|vaihtoehto", r"är|er|on"),
    "tr": (r"cevap|cevabı|cevabım|yanıt|seçenek|şık", r"olarak"),
    "ro": (r"r[ăa]spunsul|r[ăa]spuns|varianta|op[țt]iunea", r"este|e"),
    "hu": (r"válasz|megoldás", r"az?"),
    "el": (r"απάντηση|επιλογή", r"είναι"),
    "vi": (r"đáp\s+án|câu\s+trả\s+lời|lựa\s+chọn", r"là"),
    "id": (r"jawaban(?:nya)?|jawapan(?:nya)?|pilihan|opsi", r"adalah|ialah"),
    "ar": (r"الإجابة|الاجابة|إجابة|الجواب|الخيار|الاختيار|پاسخ|گزینه", r"هي|هو|ھی"),
    "he": (r"התשובה|תשובה", r"היא|הוא"),
    "hi": (r"उत्तर|जवाब|विकल्प|উত্তর", r"है"),
}
_NOUN = "|".join(nouns for nouns, _ in _NOUNS.values())
# what parts a noun from its answer where no verb does: "answer: B", "Answer - B", "answer (letter) => B"
_COLON = r"(?:\s*\([^()\n]{0,30}\)|(?:\s+[^\W\d_]{2,20}){0,2})\s*(?:[:=→]|[-=]>|[-–—](?=\s)|['’]s(?=\s))"
_NOUN_HEADS = "|".join(  # up to ten words may stand between noun and verb: "the answer to the question above is"
    rf"(?:{nouns})(?!\w)(?:{_COLON}|,?(?:\s+[^\s.;!?:=]{{1,30}}){{0,10}}?\s+(?:{verbs})(?!\w))"
    for nouns, verbs in _NOUNS.values()
)
_VERB_HEADS = (
    r"(?:I|we)(?:\s?['’](?:d|ll|m|ve)|\s+(?:would|will|shall|should|must|can|am|are|have|had|going|to|do|therefore|thus|hence|then|now"
    r"|also|finally|definitely|still|rather|ultimately))*\s+"
    r"(?:choose|chose|choosing|select|selected|selecting|pick|picked|picking|go\s+(?:with|for)|went\s+with|going\s+with|say|vote\s+for"
    r"|opt\s+for|answer|conclude|settle\s+(?:on|for)|settled\s+(?:on|for))"
    r"|(?:(?<![^.!?:;,\n])|(?<=[.!?:;,\n]\s)|(?<=so\s)|(?<=thus\s)|(?<=then\s)|(?<=hence\s)|(?<=therefore\s))"
    r"(?:choose|select|pick|go\s+with|going\s+with)"
    r"|je\s+(?:choisis|choisirais|dirais|prends|sélectionne|réponds)|ich\s+(?:wähle|nehme|sage|würde|tippe\s+auf)"
    r"|elijo|escojo|elegiría|selecciono|opto\s+por|marco|escolho|seleciono|scelgo|sceglierei|ik\s+kies|wybieram|выбираю|выберу"
    r"|(?:final|finally|conclusion|verdict|result|correct|best|richtig|правильно)\s*(?::|\s(?:is|ist)(?!\w))"
)
_UNSPACED_HEADS = (  # Chinese, Japanese, Korean, Thai
    r"(?:答案|正答|正解|答え|こたえ|解答|回答|答(?=\s*[:是])|正[确確]的?[选選][项項])(?:[选選][项項])?"
    r"(?:应该|應該|应当|應當|应|應|就|便|显然|一定|只能|可能|是|为|為|乃|即|[选選](?:择|擇)?|は|が|[:=,]|\s)*"
    r"|(?:[选選][项項]|選択肢)\s*(?:应该|應該|就)?(?:[是为為:]|は)"
    r"|(?:应该|應該|应当|應當|应|應)(?:是|为|為)"
    r"|[选選](?:择|擇|定|[项項](?=\s*:))?(?![项項题題择擇])"
    r"|(?:정답|해답|답변|답)(?:\s*(?:은|는|이|가|:|=))*|선택(?:은|:)"
    r"|(?:คำตอบ(?:ที่ถูกต้อง)?|ตอบ)\s*(?:คือ|:)?\s*(?:ข้อ|ตัวเลือก)?"
)
STATEMENT = re.compile(rf"(?:(?<!\w)(?:{_NOUN_HEADS}|{_VERB_HEADS})|#{{4}}|{_UNSPACED_HEADS})", re.I)
"""Patterns of phrases that state an answer; the option stands behind it, after a `LEAD_IN`."""
LEAD_IN = re.compile(
    r"(?:[\s:=,(<>→–—-]+|(?<!\w)(?:most|likely|probably|definitely|certainly|clearly|obviously|surely|simply|just|indeed|therefore|thus"
    r"|hence|then|actually|now|always|typically|often|usually|undoubtedly|to\s+be|be|that|it\s+is|it['’]s|the|either|both|letter|number|of"
    rf"|la|le|les|el|lo|il|die|der|das|de|het|für|buchstabe|буква|ข้อ|{_NOUN}|a(?=\s+(?:letra|op[çc][ãa]o|alternativa|\(?(?-i:[A-Z])(?!\w))))(?!\w)"
    r"|[选選][项項择擇]|選択肢|선택지|보기){0,16}+",
    re.I,
)
"""Words that may stand between a statement's head and its option; it also matches nothing."""
CONCLUSION = re.compile(
    r"(?<!\w)(?:(?:it|that|this)(?:\s+(?:is|must\s+be|should\s+be|would\s+be)|['’]s)|so|thus|therefore|hence)(?!\w)|→",
    re.I,
)
"""Patterns of phrases that conclude where nothing is stated: "so it is B"; a `CONCLUSION_END` follows the option."""
CONCLUSION_END = re.compile(r"\s*(?:$|[.,;!\n)]|(?:because|since|as)(?!\w))", re.I)
"""Pattern of the end of the clause in which a conclusion names its option."""
WEAK_HEAD = re.compile(
    rf"(?<!\w)(?:{_NOUN}|letter|(?:it|that|this)(?:\s+(?:is|must\s+be|should\s+be|would\s+be)|['’]s)|(?:could|might|may|can|to|gotta)\s+be"
    r"|(?:choose|select|pick|go\s+with|going\s+with|say|guess|opt\s+for|prefer|corresponds?\s+to|closest\s+to|so|thus|therefore|hence|namely|think|definitely|probably|clearly|surely|obviously|certainly|no|wait|sorry|actually|I\s+mean))(?!\w)|→|[选選][项項]|選択肢|선택지|보기|ข้อ",
    re.I,
)
"""Pattern of phrases that name a small letter too, but is no statement by itself: "option b", "it is b"."""
POSTFIX = re.compile(
    r"\s+(?:is|seems|must\s+be|should\s+be|would\s+be|will\s+be)\s+(?:\w+ly\s+)?(?:the\s+)?(?:(?:only|single|most|best|correct|right|final)\s+)*"
    r"(?:correct|right|best|true|answer|choice|option|appropriate|suitable|accurate|fitting|one)(?!\w)"
    r"|\s+(?:fits|matches)\s+(?:the\s+)?(?:best|better|perfectly|well)(?!\w)"
    r"|\s+(?:ist|est|es|è|é|is|jest|är|er)\s+(?:(?:la|le|die|de|het|the)\s+)?(?:richtig\w*|korrekt\w*|correcte?|bonne|juste|correct[ao]|corrett[ao]"
    r"|cert[ao]|juist|goed|poprawn\w+|prawidłow\w+|rätt|riktig|rigtig)(?!\w)"
    r"|\s+(?:—\s+)?(?:правильн|верн)\w+"
    r"|\s*(?:[选選]?[项項])?\s*(?:是|为|為|最)*(?:正确|正確|对的|對的|合适|合適|符合)|\s*(?:が|を)\s*(?:正し|正解|選)|\s*번?\s*(?:이|가)?\s*(?:정답|답입|맞)",
    re.I,
)
"""Pattern of phrases that make a statement of the letter before them: "B is correct", B是正确的."""
NO_STATEMENT = re.compile(
    r"(?:(?<!\w)(?:if|whether|suppos\w+|assum\w+|unless|(?:some|many|others|people|they|you)\s+(?:\w+\s+){0,2}(?:say|think|choose|pick"
    r"|select|claim|argue|believe|guess)\w*)(?:\s+\w+){0,4}\s*|(?<!\w)(?:wrong|incorrect|other|another|worst)\s+"
    r"|(?:(?<!\w)(?:not|never|cannot)|n['’]t)(?:\s+(?:be|to|that|say|think|the))*\s+"
    r"|[不未勿别別非没沒](?:有|应该?|應該?|能|要|会|會|可以?)?|(?:如果|假如|若|もし|만약)[^.,!?\n]{0,8})\Z",
    re.I,
)
"""Pattern of phrases right before a statement that make it none: "if the answer is A", "some would say the answer is A", 不选A."""
NO_ANSWER = re.compile(r"(?:unclear|unknown|nothing|undetermined|uncertain|ambiguous|impossible)(?!\w)", re.I)
"""Pattern of statements that give no answer."""
_OR_UNSPACED = r"和|或者?|与|與|及|跟|还是|還是|と|または|又は|もしくは|か|や|와|과|또는|이나|나|이?랑|혹은|も|도|및|그리고|หรือ|และ|,?\s*(?:也可[能以]是?|也是|或是|要么是?)"
_OR_SPACED = (
    r"oder|ou|o|u|y|e|et|und|of|en|lub|albo|i|oraz|или|и|або|та|eller|och|og|tai|veya|ve|nebo|sau|[șs]i|vagy|és|ή|και|hoặc|và"
    r"|atau|dan|أو|و|او|या|और"
)
_OR_ENGLISH = r"[/&;|+]|(?<!\w)(?:n?or|and|as\s+well\s+as|maybe|perhaps|possibly)(?!\w)"
_OR_FOREIGN = rf"(?:{_OR_UNSPACED})|(?<!\w)(?:{_OR_SPACED})(?!\w)"
JOINT = re.compile(
    rf"[\s().:?!–—-]*(?:(?:,|{_OR_ENGLISH}|(?:{_OR_FOREIGN})(?=\s*\(?[A-Za-z](?![\w'’])))\s*"
    r"(?:(?:but|also|even|else|either|I\s+(?:think|guess)\s*,?|the|option|choice|answer|letter)\s+)*)*",
    re.I,
)
"""Pattern of the joint between two options that are offered together; it also matches an empty text."""
OFFERS = re.compile(rf"{_OR_ENGLISH}|{_OR_FOREIGN}", re.I)
"""Pattern of words that make a joint an offer of both; after a comma alone the one may explain the other."""

_IN_ENGLISH = tuple(
    (re.compile(pattern, re.I), english)
    for pattern, english in (
        (
            rf"({_LETTER})(?:\s*(?:{_OR_UNSPACED})\s*|\s+(?:{_OR_SPACED})\s+)"
            rf"(?=(?:[选選][项項]|選択肢|선택지|la\s|le\s|die\s)?\s*{_LETTER})",
            r"\1 or ",
        ),
        (rf"除了?\s*({_LETTER})\s*(?:以|之)?外(?!\s*[,]?\s*(?:都|均|皆|其[他它]))", r"not \1 "),
        (  # lists that are denied as a whole: A、B都不对, AでもBでもない
            rf"({_LETTER})(?:\s*,\s*(?=(?:{_LETTER}\s*,\s*){{0,8}}{_LETTER}\s*(?:都|均|皆|全))"
            rf"|\s*(?:でも|も|도)\s*(?={_LETTER}\s*(?:でも|も|도)\s*(?:な|違|間違|誤|아니|아닙|틀)))",
            r"\1 or ",
        ),
        (
            r"(?:[不没沒](?:有|应该?|應該?|能|要|会|會|可以?)?(?:是|为|為|[选選](?:择|擇)?)|[并並而]?非|排除了?|不)\s*(?:[选選][项項])?\s*"
            rf"(?={_LETTER})",
            " not ",
        ),
        (
            r"(?:(?<!\w)(?:not|never)|n['’]t)\s+(?:be\s+)?(?:choos\w+|pick\w*|select\w*|say|(?:go|going)\s+(?:with|for))\s+"
            rf"(?:the\s+)?(?:option\s+|choice\s+|answer\s+)?(?={_LETTER})",
            " not ",
        ),
        (
            r"(?<!\w)(?:non(?:\s+è)?|n[ãa]o(?:\s+é)?|не|niet|inte|ikke|nie(?:\s+jest)?|pas|nicht|kein\w*)\s+"
            rf"(?:(?:la|le|il|die|der|das|de|el|a|o|{_NOUN})\s+)?(?={_LETTER})",
            "not ",
        ),
        (
            rf"({_LETTER})\s*(?:[选選]?[项項]|번)?\s*(?:都|均|皆|全|也|并|並|显然|明显|肯定|绝对|應該|应该|是|为|為)*"
            r"(?:错|錯|不对|不對|不正确|不正確|不可能|不符|不成立|不合|不是|有误|有誤|(?:可以|可|应|被)?排除"
            r"|(?:は|が|でも|も)?\s*(?:間違|誤|不正解|違|(?:正解)?(?:ではな|ではあ|じゃな)|な[いく]|不適|正しくな)|(?:은|는|이|가|도)?\s*(?:(?:정답|답)이?\s*)?(?:틀|아니|아닙|오답|잘못|맞지\s*않))",
            r"\1 is wrong ",
        ),
        (
            rf"({_LETTER})\s+(?:(?:ist|est|es|è|é|is|jest|är|er|sind|sont|son)\s+(?:\w+\s+)?(?:falsch|inkorrekt|faux|fausses?|incorrecte?s?"
            r"|incorrect[oa]s?|fals[oa]s?|erróne[oa]|sbagliat[aoe]|errat[ao]|errad[ao]s?|incorret[ao]s?|fout|onjuist|fel|forkert|feil"
            r"|błędn\w+|niepoprawn\w+)|n['’]est\s+pas|ist\s+nicht|no\s+es|non\s+è|n[ãa]o\s+é|is\s+niet|nie\s+jest|är\s+inte|er\s+ikke"
            r"|(?:—\s*)?(?:это\s+)?(?:не\s?верн\w+|неправильн\w+)|değil)(?!\w)",
            r"\1 is wrong ",
        ),
        (
            r"(?:^|(?<=[\s.,;:!?]))(?:不对|不對|不|等等|等一下|いや|違う|待って|아니야?|아뇨|잠깐|(?:non|nein|no|não),?\s+(?:attends|warte|moment"
            r"|espera|aspetta))[\s,.!:…]+(?:我?(?:应该|應該)?(?:是|为|為|[选選](?:择|擇)?)|答案(?:应该|應該)?是|正解は)?\s*"
            rf"(?={_LETTER})",
            " no, wait: ",
        ),
        (r"(?<![\w'’])((?-i:[A-Z]))['’](?:[dt][ıiuü]r|y[ıiuü]|[ıiuü]n)(?!\w)", r"\1 "),  # Turkish: B'dir
    )
)


def list_start(text: str, letters: Sequence[re.Match[str]], index: int) -> int:
    """Return the index of the first of the letters that joints connect to one of them: in "A, B or C" that of A. "Of A and
    C, C fits" names C once more, alone."""
    own = letters[index][0].strip("()")
    while index and letters[index - 1][0].strip("()") != own:
        end, start = letters[index - 1].end(), letters[index].start()
        joint = text[end:start]
        if match_end(JOINT, text, end) != start or not ("," in joint or OFFERS.search(joint)):
            break
        index -= 1
    return index


def match_end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return where a match of a pattern that begins at `start` ends; `start` where there is none."""
    match = pattern.match(text, start)
    return match.end() if match else start


def in_english(text: str) -> str:
    """Return the text with the plainest joints, denials and corrections of other languages that touch a capital letter in
    English: 不是B becomes "not B", "B ist falsch" becomes "B is wrong"."""
    for pattern, english in _IN_ENGLISH:
        text = pattern.sub(english, text)
    return text
