"""Numbers in words, magnitudes, ranges, powers, fractions and the thousands marks of every convention, as `numeric` reads them."""

from __future__ import annotations

import pytest

from rewards.contract import Case
from rewards.verifiers.numeric import verify


def score(pred: str, gold: str) -> float:
    rollout = Case(pred, gold).rollout()
    return verify(rollout.prompt, rollout).score


RIGHT: dict[str, list[str]] = {}
WRONG: dict[str, list[str]] = {}
RIGHT["21"] = [
    "twenty one", "Twenty-one.", "TWENTY-ONE", "The answer is twenty-one.", "There are twenty-one apples.",
    "twenty‑one", "It is **twenty-one**.", "\\boxed{\\text{twenty-one}}", "<answer>twenty-one</answer>",
    "I count twenty-one of them.", "So the answer is twenty-one (21).", "21 (twenty-one)", "twenty-one, i.e. 21",
    "Twenty-one people came.",
]  # fmt: skip
RIGHT["100"] = [
    "a hundred", "one hundred", "A hundred beats.", "It's a hundred.", "one hundred percent",
    "The answer is a hundred.", "100 (one hundred)",
]  # fmt: skip
RIGHT["101"] = [
    "a hundred and one", "one hundred one", "one hundred and one", "a hundred one",
]  # fmt: skip
RIGHT["1000"] = [
    "a thousand", "one thousand", "1 thousand", "ten hundred", "1k", "1K", "1,000", "1.000,0", "1 000", "1’000",
    "1'000", "1e3", "10^3", "10³", "10**3", "1×10³", "1 × 10^3", "\\(10^{3}\\)", "one thousand (1,000)", "1000.0",
]  # fmt: skip
RIGHT["1234"] = [
    "one thousand two hundred thirty-four", "one thousand, two hundred and thirty-four", "twelve hundred thirty-four",
    "1,234", "1 234", "1\u202f234", "1\xa0234", "1'234", "1_234", "1{,}234", "1\\,234", "1.234e3", "1.234 thousand",
]  # fmt: skip
RIGHT["500000"] = [
    "half a million", "0.5 million", "500 thousand", "500k", "500,000", "500.000,00", "five hundred thousand",
    "1/2 million", "0.5M", "half a million people", "The answer is half a million.",
]  # fmt: skip
RIGHT["1500000"] = [
    "a million and a half", "one and a half million", "1.5 million", "1.5M", "1,500,000", "1 500 000", "1.500.000",
    "one million five hundred thousand", "1½ million",
]  # fmt: skip
RIGHT["2500"] = [
    "two and a half thousand", "2.5 thousand", "2.5k", "twenty-five hundred", "two thousand five hundred", "2,500",
    "25 hundred", "2½ thousand",
]  # fmt: skip
RIGHT["12"] = [
    "a dozen", "one dozen", "a dozen eggs", "1 dozen", "twelve", "The answer is a dozen.",
]  # fmt: skip
RIGHT["24"] = [
    "two dozen", "2 dozen", "two dozen eggs", "twenty-four", "two dozens",
]  # fmt: skip
RIGHT["6"] = [
    "half a dozen", "half-dozen eggs", "six", "six-pack: 6",
]  # fmt: skip
RIGHT["20"] = [
    "a score of 20", "twenty", "twenty or so", "about twenty", "20-ish", "roughly 20", "some 20",
]  # fmt: skip
RIGHT["0.5"] = [
    "one half", "a half", "half", "1/2", "½", "one-half", "\\frac12", "0.5", "0,5", ".5", "five tenths",
    "50 hundredths", "zero point five", "point five", "The answer is one half.", "It's a half.", "Half.",
    "the probability is one half", "one out of two: 1/2",
]  # fmt: skip
RIGHT["0.25"] = [
    "a quarter", "one quarter", "one-quarter", "one fourth", "1/4", "¼", "a fourth", "0.25", "zero point two five",
    "twenty-five hundredths", "25/100",
]  # fmt: skip
RIGHT["0.75"] = [
    "three quarters", "three-quarters", "three fourths", "3/4", "¾", "0.75", "0,75", "seventy-five hundredths",
    "three quarters of it", "three quarters of the cake",
]  # fmt: skip
RIGHT["0.6666666667"] = [
    "two thirds", "two-thirds", "2/3", "⅔", "two thirds of the class", "\\dfrac{2}{3}",
]  # fmt: skip
RIGHT["2.5"] = [
    "two and a half", "2 and a half", "2 1/2", "2½", "2.5", "two point five", "two and one half", "2 and 1/2",
    "two and a half hours", "2,5", "5/2", "five halves", "2 hours and a half",
]  # fmt: skip
RIGHT["1.5"] = [
    "one and a half", "1 and a half", "an hour and a half", "one and one-half", "1½", "1 1/2", "three halves",
    "one point five",
]  # fmt: skip
RIGHT["3.75"] = [
    "three and three quarters", "3 and 3/4", "3¾", "3 3/4", "three point seven five", "3.75",
]  # fmt: skip
RIGHT["3.14"] = [
    "three point one four", "3.14", "3,14", "about 3.14",
]  # fmt: skip
RIGHT["-5"] = [
    "minus five", "negative five", "-5", "−5", "–5", "minus 5", "negative 5", "The answer is minus five.",
    "It is -5 degrees.", "－5", "five below zero: -5", "\\(-5\\)", "-5.0",
]  # fmt: skip
RIGHT["-0.5"] = [
    "minus one half", "-1/2", "−½", "negative one half", "minus a half", "-\\frac{1}{2}",
]  # fmt: skip
RIGHT["0"] = [
    "zero", "0", "none: 0", "Zero.", "The answer is zero.", "0.0", "zero apples",
]  # fmt: skip
RIGHT["1"] = [
    "one", "The answer is one.", "1", "There is one dog.", "There is only one.", "just one", "one (1)", "exactly one",
    "One.", "1.0",
]  # fmt: skip
WRONG["1"] = [
    "no one", "No one knows.", "None.", "everyone", "The first one", "Which one?", "one or two", "one by one",
]  # fmt: skip
RIGHT["3"] = [
    "three", "three beats", "I hear three beats.", "3 beats", "The dog barks three times.", "It barks 3 times.",
    "three times", "3 times", "Three people, one of whom speaks twice: three.",
    "There are two men and one woman, so three speakers.", "There are three, not four.", "three (3)", "3rd? No, 3.",
]  # fmt: skip
WRONG["3"] = [
    "third", "the third", "The third one.", "3rd", "a third", "the 3rd", "three or four", "two or three",
    "three to five", "3-5", "three-four", "at least three", "more than three", "three or more", "up to three",
    "not three", "three-quarters", "thirty", "thirteen", "three hundred", "three thousand", "three dozen",
    "three million", "three and a half", "three point five", "minus three", "three squared", "three times four", "3x",
    "3%%3", "3!", "√3", "3π", "between two and three", "fewer than three", "neither two nor three", "threefold or so",
]  # fmt: skip
RIGHT["120"] = [
    "120", "120 Hz", "120Hz", "one hundred twenty hertz", "one hundred and twenty", "a hundred and twenty",
    "a hundred twenty", "about 120", "about 120-ish", "120-ish", "120 or so", "approximately 120 Hz", "~120", "≈120",
    "~ 120 BPM", "120bpm", "around 120", "roughly one hundred twenty", "120 ± 5", "120±5", "120 +/- 5",
    "120 plus or minus 5", "120, plus or minus 5", "120 give or take 5", "120, give or take 5", "120 \\pm 5",
    "$120 \\pm 5$ Hz", "(120 ± 5) Hz", "120 (±5)", "120 Hz (±5 Hz)", "1.2e2", "1.2 × 10^2", "1.2×10²", "12e1",
    "twelve tens: 120", "120.0", "120,0", "The tempo is 120 BPM.", "The tempo is around 120 beats per minute.",
    "Tempo: 120", "I'd estimate 120.", "I would say about 120.", "My estimate is 120 Hz.",
    "It sounds like 120 Hz to me.", "120 dB", "120 decibels", "120 seconds", "120s", "120 s", "120 ms", "$120",
    "€120", "120 €", "120 USD", "£120", "120 degrees", "120°", "120 %", "120%",
]  # fmt: skip
WRONG["120"] = [
    "119-121", "119–121", "119 - 121", "119 to 121", "119 through 121", "from 119 to 121", "between 119 and 121",
    "anywhere between 119 and 121", "119 ~ 121", "119 or 120", "120 or 121", "120/121", "119, 120", "119 and 120",
    "119 & 120", "[119, 121]", "(119, 121)", "at least 120", "120 or more", "120+", "at most 120", "no more than 120",
    "over 120", "under 120", ">120", "<120", "≥120", "≤ 120", "\\geq 120", "\\ge 120", "$>120$", "120 max",
    "120 at most", "not 120", "120? No.", "120 is wrong", "-120", "minus 120", "1200", "12", "1.2", "0.120", "120k",
    "120 thousand", "120 million", "120 dozen", "120e3", "120 x 10^3", "5 ± 120", "121 ± 1", "±120", "100+20", "60*2",
    "12 × 10 + 0", "one hundred", "twenty", "hundred", "a hundred", "120.5", "120,5", "120 and a half", "120 thirds",
    "1:20", "1/20", "I can't tell.", "60 to 120", "120-130 Hz", "100 to 120 Hz", "somewhere in the 120s",
    "120s to 130s", "120 or 130 BPM", "either 120 or 60", "120 (or 60)", "60 (or 120)",
    "it might be 60 or it might be 120", "120, 60", "120; 60", "120\n60", "60\n120", "120 60",
]  # fmt: skip
RIGHT["1234.5"] = [
    "1,234.5", "1.234,5 €", "1 234,5 kg", "1'234.5", "1234,5", "1 234.5", "1,234.50", "1.2345e3", "1{,}234.5",
    "1\\,234.5",
]  # fmt: skip
RIGHT["1234567"] = [
    "1,234,567", "1.234.567", "1 234 567", "1'234'567", "1_234_567", "12,34,567", "1234567", "1\u2009234\u2009567",
    "1\u202f234\u202f567", "123.4567万",
]  # fmt: skip
RIGHT["0.001"] = [
    "10^-3", "10^{-3}", "10⁻³", "10**-3", "1e-3", "1E-3", "0.001", "0,001", "1/1000", "one thousandth", "1 × 10^-3",
    "1×10⁻³", "1*10^(-3)", "\\(1 \\times 10^{-3}\\)", "$10^{-3}$", "1 x 10^-3", ".001", "0.0010",
]  # fmt: skip
RIGHT["50"] = [
    "50%", "50 %", "50 percent", "fifty percent", "fifty per cent", "50 per cent", "50\\%", "50％",
    "The answer is 50%.", "about 50 percent", "half of 100 is 50",
]  # fmt: skip
RIGHT["10000"] = [
    "1万", "一万", "10k", "ten thousand", "10,000", "10 000", "10^4", "1e4", "1 万", "10千", "10 thousand", "0.01 million",
]  # fmt: skip
RIGHT["30000"] = [
    "3万", "三万", "3 万元", "30k", "30 thousand", "thirty thousand",
]  # fmt: skip
RIGHT["5"] = [
    "五", "5个", "5個", "共5人", "答案是5。", "cinco: 5", "V is 5", "The final answer is five.", "five of the ten", "5 of 10",
    "5 out of 10", "Five out of ten.", "5 (five)", "5.", "(5)", "=5", "x=5", "x = 5", "+5",
]  # fmt: skip
RIGHT["5000"] = [
    "5 thousand", "five thousand", "5k", "5K", "5.000,00", "5,000", "5 000", "5 grand: 5000", "5千", "$5k",
    "5k dollars", "5 thousand dollars", "The answer is 5k.", "5 thousand.", "about 5 thousand people",
]  # fmt: skip
RIGHT["5000000"] = [
    "5 million", "five million", "5M", "5m people: 5,000,000", "5 mn", "5 Million", "5 million dollars", "$5 million",
    "$5M", "5,000,000", "500万",
]  # fmt: skip
RIGHT["5000000000"] = [
    "5 billion", "five billion", "5B", "5bn", "5 bn", "$5bn", "5,000,000,000", "50亿", "5e9",
]  # fmt: skip
WRONG["5"] = [
    "5 thousand", "5k", "5K", "5 million", "5M", "5bn", "5 billion", "five thousand", "5 hundred", "5 dozen", "5万",
    "5千", "5亿", "5 half", "5th", "fifth", "5/6", "5:30", "5-6", "5²", "5^2", "0.5", "5.5", "5,5", "55", "5%5", "5e1",
    "5√2", "5i", "5 1/2", "5 and a half", "5 or 6", "5 and 6", "5 to 6", "5 plus 1", "5 minus 1", "5 squared",
]  # fmt: skip
WRONG["30"] = [
    "5:30", "5 hours 30 minutes", "5h30", "5 h 30 min", "2023-05-30", "May 30, 2023", '5\'30"',
    "5 minutes and 30 seconds",
]  # fmt: skip
WRONG["2023"] = [
    "2023-05-30", "May 30, 2023", "30 May 2023", "between 2020 and 2023",
]  # fmt: skip
RIGHT["2023"] = [
    "2023", "in 2023", "The year is 2023.", "It happened in 2023.", "the year 2023",
]  # fmt: skip
RIGHT["90"] = [
    "90 minutes", "90 min", "an hour and a half = 90 minutes", "ninety", "1.5 hours = 90 minutes",
    "It lasts 90 seconds.", "ninety seconds",
]  # fmt: skip
RIGHT["4"] = [
    "four", "4 speakers", "There are 4 different speakers.", "I hear four distinct voices.",
    "Four voices: two men, two women.", "4 (two men and two women)", "Number of speakers: 4", "Speakers: 4",
    "- Speakers: 4", "four instruments", "four (4) instruments",
    "There are four instruments: piano, bass, drums and guitar.", "I can hear 4 claps in the clip.",
    "The clock strikes four.", "The answer is four, as the bell rings 4 times.", "The bell rings four times.",
    "a total of four", "a total of 4 claps", "a group of 4",
]  # fmt: skip
RIGHT["1.2"] = [
    "1.2", "1,2", "one point two", "6/5", "1 1/5", "1⅕", "1.20", "12/10", "1.2 s", "1.2 seconds",
    "1.2-second clip: 1.2",
]  # fmt: skip
RIGHT["6.283185307"] = [
    "2π", "2\\pi", "$2\\pi$", "2 pi", "2*pi", "2·π", "τ = 2π", "6.283185", "two pi",
]  # fmt: skip
RIGHT["1.414213562"] = [
    "√2", "\\sqrt{2}", "$\\sqrt2$", "sqrt(2)", "2^{1/2}", "1.41421356", "the square root of 2 is 1.414214",
]  # fmt: skip
WRONG["2"] = [
    "√2", "\\sqrt{2}", "2π", "2\\pi", "2x", "2i", "2!!", "2²", "2 pi", "two pi", "square root of two",
    "the square root of 2", "log 2", "2^{1/2}", "2%2", "twice", "double", "two-fold or three-fold", "second", "2nd",
]  # fmt: skip
RIGHT["2"] = [
    "2", "two", "Two.", "the number 2", "a couple: 2", "two of them", "two voices", "2 voices", "There are two.",
    "They are two.", "2x: no, 2",
]  # fmt: skip
RIGHT["7.5"] = [
    "seven and a half", "seven point five", "7½", "7,5", "7 1/2", "fifteen halves", "7.5 or so",
]  # fmt: skip
WRONG["7.5"] = [
    "seven", "seven or eight", "7 to 8", "seven to eight", "7.5k", "seven fifths", "between 7 and 7.5",
]  # fmt: skip
RIGHT["1100"] = [
    "eleven hundred", "one thousand one hundred", "1,100", "1.1k", "1.1 thousand", "1100 or so",
    "a thousand one hundred", "1 100",
]  # fmt: skip
WRONG["1100"] = [
    "eleven", "a thousand, one hundred", "1 to 100", "eleven hundred or twelve hundred", "1,100,1", "hundred",
]  # fmt: skip
RIGHT["65"] = [
    "sixty-five", "sixty five", "65 BPM", "about sixty-five", "65, give or take 3", "65±2", "65 ± 2",
]  # fmt: skip
WRONG["65"] = [
    "sixty to sixty-five", "65-70", "sixty-fifth", "65th", "65k", "sixty-five thousand", "60 or 65", "not sixty-five",
    "at least sixty-five", "sixty-five or seventy",
]  # fmt: skip
RIGHT["8"] = [
    "eight", "eight times", "8 times", "The bell rings eight times.", "eight (8)", "八", "八次", "8回", "ocho: 8",
    "8 knocks: 5 loud and 3 soft",
]  # fmt: skip
WRONG["8"] = [
    "eighth", "8th", "eighty", "eighteen", "eight hundred", "seven or eight", "seven to eight", "8 or 9 times",
    "an eighth", "eight dozen", "no fewer than eight",
]  # fmt: skip


@pytest.mark.parametrize(("pred", "gold"), [(pred, gold) for gold, preds in RIGHT.items() for pred in preds])
def test_a_number_is_read(pred: str, gold: str):
    assert score(pred, gold) == 1.0


@pytest.mark.parametrize(("pred", "gold"), [(pred, gold) for gold, preds in WRONG.items() for pred in preds])
def test_another_number_several_or_none_do_not_count(pred: str, gold: str):
    assert score(pred, gold) == 0.0
