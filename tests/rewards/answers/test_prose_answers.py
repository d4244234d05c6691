"""Answers as language models write them, and sentences that name the right number without giving it as their answer."""

from __future__ import annotations

import importlib

import pytest

from rewards.contract import Case


def score(verifier: str, pred: str, gold: str, question: str = "") -> float:
    rollout = Case(pred, gold, question=question).rollout()
    return importlib.import_module(f"rewards.verifiers.{verifier}").verify(rollout.prompt, rollout).score


IS_75_LANGUAGES = [
    "49 plus 26 is 75.", "Adding them: 49 + 26 = 75. So she has **75** marbles.", "Answer: 75 (49 + 26)",
    "Answer\n======\n75", "Die Antwort ist 75.", "Also sind es insgesamt 75 Äpfel.", "Das Ergebnis ist 75.",
    "Das Ergebnis beträgt 75.", "Die Lösung lautet 75.", "Ergebnis: 75", "Antwort: 75", "La réponse est 75.",
    "Le résultat est 75.", "Donc il a 75 pommes.", "Réponse : 75", "Il y en a 75 au total.", "La respuesta es 75.",
    "El resultado es 75.", "Por lo tanto, hay 75 manzanas.", "Respuesta: 75", "En total son 75.", "答案是75。", "答案：75",
    "所以一共是75个苹果。", "因此，答案是 75。", "最终答案为75。", "最终答案：**75**", "共75人", "答えは75です。", "したがって、答えは75個です。", "合計は75です。",
    "정답은 75입니다.", "따라서 답은 75입니다.", "총 75개입니다.", "Ответ: 75.", "Ответ: 75", "Итого 75 яблок.",
    "Таким образом, ответ — 75.", "الجواب هو 75", "الإجابة: ٧٥", "النتيجة هي 75.", "उत्तर 75 है।",
    "अतः कुल 75 सेब हैं।", "उत्तर: ७५", "Our final answer is: 75", "Answer = 75", "Ans: 75", "Ans. 75",
    "Let $x$ be the number. Then $x = 75$.", "After 3 days, he has 75 apples.", "Answer → 75", "Answer - 75",
    "Answer – 75", "Answer is 75", "answer 75", "ANSWER: 75",
]  # fmt: skip
IS_75_MARKS_AND_FORMULAS = [
    "**Final answer:** 75", "- First: 49\n- Second: 26\n- Total: **75**", "$49+26=75$", "\\[49 + 26 = 75\\]",
    "It costs $75.", "He pays $75.00.", "He earns $75 per week.", "The answer is **75**.",
    "### Final Answer\n\n**75**", "#### 75", "<answer>75</answer>", "<answer> 75 apples </answer>", "\\boxed{75}",
    "$\\boxed{75}$", "\\boxed{75\\text{ apples}}", "Solving, $x=75$.", "We have $3x = 225 \\implies x = 75$.",
    "$3x = 225 \\Rightarrow x = 75$", "\\begin{align*}\n3x &= 225\\\\\nx &= 75\n\\end{align*}",
    "| item | n |\n|---|---|\n| total | 75 |", "Total: 49 + 26 = $75", "So the total cost is $49 + $26 = $75.",
    "<think>maybe 74</think>75", "<think>maybe 74</think>\n\nThe answer is 75.",
    "I'll put it in \\boxed{}: \\boxed{75}", "The answer goes in a box like \\boxed{...}. So \\boxed{75}",
    "\\boxed{74}\n\nWait, that is wrong. \\boxed{75}", "**75**\n\nHere's why: adding 49 and 26.",
    "The final answer is: $\\boxed{75}$", "The final answer is: \\[ \\boxed{75} \\]",
    "The final answer is $75$. I hope it is correct.", "Therefore the answer is $75$ dollars.",
    "The answer is:\n\n$$75$$", "$$\n75\n$$", "\\(75\\)",
]  # fmt: skip
IS_75_ANSWERS = [
    "The final answer is 75.", "So Tom has 75 apples, which gives 75.", "We get 75 apples in total.",
    "Therefore, the total is 75 apples.", "1. Add 49 and 26.\n2. The sum is 75.", "49 + 26\n= 75",
    "The answer is 75, because 49 + 26 = 75.", "The answer is 75 dollars.", "So it takes 75 minutes.",
    "The result is 75 km.", "The train travels 75 miles per hour.", "First I thought it was 74. Actually, it is 75.",
    "74? No, 75.", "The answer is 74. Wait, let me recompute: 49 + 26 = 75. So the answer is 75.", "I think it's 75",
    "It's 75, I'm sure of it.", "That makes 75.", "The answer is `75`.", 'The answer is "75".', "The answer is _75_.",
    "So the answer must be 75.", "My answer: 75", "The correct answer is 75.", "The answer should be 75.",
    "Thus the answer would be 75.", "The answer comes out to 75.", "The answer turns out to be 75.",
    "The answer, then, is 75.", "The answer is therefore 75.", "The answer is clearly 75.", "Final: 75", "= 75",
    "≈ 75", "A: 75", "Hence there are 75 of them, 26 more than 49.",
    "There are 75 students: 49 girls and 26 boys. The answer is 75.", "75 students", "75 is the answer.",
    "75 is the final answer.", "75 would be my answer.", "75 it is.", "The total number of apples is equal to 75.",
    "The total number of apples equals 75.", "The sum of 49 and 26 is 75.", "The sum is 75, not 74.",
    "It is 75 rather than 74.", "Not 74 but 75.", "It isn't 74; it's 75.", "x + 26 = 101\nx = 101 - 26\nx = 75",
    "Solving for x gives x = 75.", "3x = 225 → x = 75", "3x = 225, so x = 75", "3x = 225; therefore x = 75.",
    "∴ x = 75", "So: 25 × 3 = 75", "25*3 = 75", "25 x 3 = 75", "Total = 49 + 26 = 75 apples",
    "The answer is 75\n\nLet me know if you have other questions!", "The answer is 75.\n\nI hope this helps! :)",
    "The answer is 75.\n\nExplanation: there are 49 in one box and 26 in the other.", "75\n\nExplanation: 49 + 26.",
    "Final answer: 75.", "The area is 75 square feet.", "The angle is 75°.", "The angle is 75 degrees.",
    "It is 75% of the total.", "The value is 75.0", "The value is 75.00.", "In 5 years she will be 75.",
    "By 2024, it had 75.", "Each of the 5 friends gets 75.", "So each of the 3 children gets 75 candies.",
    "With 3 boxes of 25 each, that's 75.", "75 people came.", "Yes, 75.", "Sure! The answer is 75.", "I'd say 75.",
    "My final answer is 75", "Thus, 75", "75 ✓", "✅ 75", "The answer 75.", "the answer:75", "THE ANSWER IS 75",
    "The answer is\n75", "The answer is:\n\n75", "The answer is:\n- 75", "75 apples = total",
    "The total is: 75 apples (49 + 26).", "Therefore, the total (49 + 26) is 75.", "So 75 apples are left.",
]  # fmt: skip
IS_48_LANGUAGES = [
    "Let me think. There are 12 rows of 4, which gives 48 seats.", "Answer: 48 eggs.", "It comes to a total of 48.",
    "Altogether 48.", "Der Endwert ist 48.", "Insgesamt 48 Sitze.", "Also 48.", "Donc 48.", "Il reste 48 places.",
    "Quedan 48 asientos.", "Entonces, 48.", "一共48个座位。", "所以答案为48。", "总共有48个。", "合計48個です。", "全部で48席あります。",
    "모두 48개입니다.", "답: 48", "Всего 48 мест.", "Получаем 48.", "المجموع 48", "कुल 48 सीटें हैं।",
    "48, no more and no less.", "After losing 2 of 50, she has 48.", "Out of 100, 48 remain.",
]  # fmt: skip
IS_48_MARKS_AND_FORMULAS = [
    "So in the end Maria pays **48** dollars.", "**Step 1:** 12 per cake\n\n**Step 2:** 12 × 4 = 48\n\nFinal: 48",
    "**Answer: 48**", "**Answer:** $48$", "The final answer is $\\boxed{48}$.", "\\[\n\\boxed{48}\n\\]",
    "$$12 \\times 4 = \\boxed{48}$$", "Hence $n = 48$.", "Thus $12\\cdot 4=48$", "Result: **48**",
    "Final Answer: The final answer is $48$. I hope it is correct.", "<answer>\n48\n</answer>", "#### 48 seats",
]  # fmt: skip
IS_48_ANSWERS = [
    "Total cost = 12 × 4 = 48 dollars.", "The product is 48.",
    "Therefore she needs 48 eggs (12 for each of the 4 cakes).", "There are 48 eggs, 12 for each cake.",
    "She needs 48 eggs: 12 for each of the 4 cakes.", "1. 12 per box\n2. 4 boxes\n3. Total: 48",
    "I first got 50, but that is wrong. It is 48.", "50? No, 48.", "It's not 50, it's 48.",
    "The answer is 48 (forty-eight).", "The answer is 48, which is 12 times 4.",
    "The answer is 48 because 12 times 4 is 48.", "we get 48", "We obtain 48.", "This equals 48.",
    "This gives us 48.", "So it comes to 48.", "It all adds up to 48.", "In total, 48 seats.", "48 in total",
    "48 seats in all", "48 seats altogether.", "That leaves 48.", "He has 48 left.", "There will be 48 left.",
    "The answer is 48. I'm confident.", "48. That's my final answer.", "Is it 50? No. It's 48.",
    "Could it be 50? 12 × 4 = 48, so no; it is 48.", "If there are 12 in each, then there are 48.",
    "If x = 12, then 4x = 48.", "Suppose each row has 12 seats. Then 4 rows have 48.", "Not more and not less: 48.",
    "She had 50 but lost 2, so 48.", "48 out of 100", "48 of the 100 students", "The answer is 48 out of 100.",
    "* 48", "• 48", "48\n", "\n\n48\n\n", "  48  ", "The result of the multiplication is 48.",
    "The result would be 48.", "Solution: 48", "The answer is 48, not 50.", "48 rather than 50",
    "My first guess was 50, but the answer is 48.", "The answer is 48, more than 40.",
    "She has 48, which is more than 40.", "She has 48, which is less than 50.", "Since 48 > 40, the answer is 48.",
    "It's 48, as 48/4 = 12.", " The area is 48 m^2.", "The speed is 48 km/h.", "The price is 48 €.",
    "So the answer is 48 minutes.", "The perimeter is 4 × 12 = 48 cm.", "The answer would therefore be 48.",
    "x equals 48", "x is equal to 48", "x is 48", "n=48.", "Then, x=48", "Number of seats: 48",
    "Number of seats = 48", "=> 48", "-> 48", "→ 48", "⇒ 48", "Thus: 48.", "I believe the answer is 48.",
    "I think that the answer is 48.", "I'm pretty sure it's 48.", "Looks like 48.", "Must be 48.", "Should be 48.",
    "Probably 48.", "So the answer is probably 48.", "You get 48.",
]  # fmt: skip
IS_36_LANGUAGES = [
    "Adding everything up, we find that the shop sold 36 lamps.", "Over 4 days the shop sold 36 lamps.",
    "Das macht 36 Lampen.", "Die Antwort lautet: 36", "Cela fait 36 lampes.", "La réponse finale est 36.",
    "En total, 36 lámparas.", "La respuesta final es 36.", "所以商店一共卖了36盏灯。", "答案为：36", "したがって36個です。", "따라서 36개입니다.",
    "Магазин продал 36 ламп.", "Ответ равен 36.", "الإجابة النهائية هي 36", "अंतिम उत्तर 36 है।",
    "That gives a total of 36 lamps.", "Answer: The shop sold 36 lamps.",
]  # fmt: skip
IS_36_MARKS_AND_FORMULAS = [
    "Hence, the number of lamps sold is $36$.", "9 × 4 = **36**", "\\(9 \\times 4 = 36\\)", "So the shop made $36.",
    "The shop made 36 dollars (4 days at $9).", "<answer>36 lamps</answer>", "\\boxed{36 \\text{ lamps}}",
    "Therefore $\\boxed{36}$ lamps.", "#### $36", "1. 9 per day\n2. 4 days\n\n**Total:** 36 lamps",
    "| days | lamps |\n|---|---|\n| 4 | 36 |", "$$y=36$$", "$y = 4\\cdot 9 = 36$",
    "\\begin{aligned} y &= 4 \\cdot 9 \\\\ &= 36 \\end{aligned}",
]  # fmt: skip
IS_36_ANSWERS = [
    "So: 36 lamps.", "The shop sold 36 lamps in all, 9 on each of the 4 days.", "36 lamps were sold.", "It sold 36.",
    "In 4 days, 36 lamps.", "Each day 9, so 4 · 9 = 36 lamps.", "So we have 9 + 9 + 9 + 9 = 36 lamps.",
    "The final answer is thirty-six (36).", "Let me double check: 9 × 4 = 36. Yes. The answer is 36.",
    "I was going to say 32, but the answer is 36.", "Initially 32; on reflection 36.", "32 is not right. 36 is.",
    "32 is too low. It must be 36.", "The answer cannot be 32. It is 36.", "The answer is 36.\n\nNote: 9 × 4 = 36.",
    "36\n\nReasoning: 9 lamps on 4 days.", "The answer: 36 lamps", "Final answer → 36",
    "Can we check? 36/4 = 9, fine. The answer is 36.", "How many lamps? 36.", "What is 9 × 4? It's 36.",
    "The answer is 36, as 9 times 4 is 36.", "The answer is 36 lamps per week.", "36 (since 9 × 4 = 36)",
    "36, since 9 × 4 = 36", "36 because 4 × 9 = 36.", "That is 36 lamps, more than the 30 expected.",
    "36 lamps, i.e. 3 dozen", "It would be wrong to say 32; it's 36.", "The shop sold 36 lamps, not 32.",
    "> The answer is 36.", "Total → 36", "So y = 36.", "y=36", "The total is 36.", "The total comes to 36.",
    "The total amounts to 36.", "The correct answer is: 36.",
]  # fmt: skip
NOT_75_LANGUAGES = [
    "It is by no means 75.", "about 70 to 75", "at least 75", "at most 75", "less than 75", "no more than 75",
    "over 75", "Anything other than 75", "Nor 75", "It would be a mistake to say 75.", "Nobody would say 75.",
    "There is no way it is 75.", "Under no circumstances 75.", "75 plus 1", "nicht 75", "Es ist nicht 75.",
    "keineswegs 75", "Ce n'est pas 75.", "pas 75", "No es 75.", "Non è 75.", "不是75", "答案不是75。", "75ではありません。",
    "75가 아닙니다.", "не 75", "Это не 75.", "ليس 75", "75 नहीं", "至少75", "最多75", "不超过75", "大于75", "mindestens 75",
    "höchstens 75", "mehr als 75", "au moins 75", "plus de 75", "al menos 75", "más de 75", "не менее 75", "более 75",
    "75以上", "75以下", "75または76", "75或76", "75或者76", "75 oder 76", "75 ou 76", "75 o 76", "75 или 76",
    "zwischen 74 und 76", "entre 74 et 76", "entre 74 y 76", "74到76", "74至76", "74から76",
    "Option 1: 74. Option 2: 75.", "Pick a number: 1, 2, 3, 75", "not quite 75", "almost 75 but not quite",
    "a bit over 75", "north of 75", "a maximum of 75", "a minimum of 75", "not more than 75", "not less than 75",
    "less than or equal to 75",
]  # fmt: skip
NOT_75_MARKS_AND_FORMULAS = [
    "The answer is in {74, 75}.", "\\boxed{49+26}", "\\boxed{75+0}", "\\boxed{74} or \\boxed{75}", "\\boxed{75, 76}",
    "\\boxed{75 \\text{ or } 76}", "\\boxed{\\text{not } 75}", "<!-- 75 -->", "<!-- The answer is 75 -->",
    "<think>75</think>", "<think>75", "<think>The answer is 75</think>I don't know.", "[75, 76]", "{75}∪{76}", "<75",
    "74 < x < 76",
]  # fmt: skip
NOT_75_ANSWERS = [
    "The answer is not 75.", "It's not 75.", "It isn't 75.", "It's far from 75.", "75 is out of the question.",
    "75 would be wrong.", "75 is incorrect.", "75 is not right.", "75 isn't it.", "75 is not the answer.",
    "Definitely not 75.", "If it were 75, we'd be done.", "Is it 75?", "Could it be 75?", "Is the answer 75?",
    "The answer is 74 or 75.", "75 or 76", "Either 75 or 76.", "75, 76", "75 76", "75/76", "between 74 and 76",
    "between 75 and 76", "75 to 80", "70-75", "70–75", "from 70 to 75", "more than 75", "up to 75", "75 or more",
    "75+", "under 75", "nearly 75 or 76", "maybe 75, maybe 76", "perhaps 75 or perhaps 74", "75 and 76",
    "74, 75 and 76", "The answer is one of 74, 75, 76.", "The answer is 49+26.", "49+26", "The answer is 49 + 26",
    "75+0", "75*1", "75 + 0", "75-0", "1*75", "75/1", "What is 49+26?", "The sum of 49 and 26", "49, 26, 75",
    "26 49 75", "The numbers are 49, 26, 75", "I don't know.", "", "The answer is unknown.", "-75", "−75", "75i",
    "75x", "75π", "75!", "75^2", "75²", "√75", "75.5", "7.5", "750", "175", "0.75", "75k", "75 thousand",
    "75 million", "75e1", "75%%%75%", "(75, 76)", "x > 75", "x ≠ 75", "x ≥ 75", "≥ 75", "> 75",
    "The answer is anything but 75.", "Everything except 75", "The answer can't be 75.", "The answer cannot be 75.",
    "It could not be 75.", "It can never be 75.", "It was never 75.", "Not 75 but 76", "76, not 75",
    "76 rather than 75", "76 instead of 75", "Neither 75 nor 76", "75 is wrong", "75, which is wrong", "75 (wrong)",
    "75. That is wrong.", "75. Wrong!", "75 is false.", "75 is impossible.", "I doubt that it is 75.",
    "I don't think it is 75.", "I don't think the answer is 75.", "Some say 75, but they are wrong.", "Don't say 75.",
    "You might think 75, but it's 76.", "You might think it is 75, but that is a trap.",
    "The answer is not equal to 75.", "The answer differs from 75.", "The answer is different from 75.", "unlike 75",
    "The opposite of 75", "The answer is 1 less than 75.", "1 more than 75", "75 minus 1", "75 times 2", "twice 75",
    "half of 75", "double 75", "75 squared", "75 factorial", "75 mod 7", "the square root of 75",
    "The answer is 75. No wait, 76.", "The answer is 75. Actually 76.", "75. Sorry, 76.", "75, I mean 76",
    "75 — scratch that — 76", "75... no, 76.", "The answer is 75. Correction: 76.",
    "The answer is 75. On second thought, it's 76.", "The answer is 75 or 76 depending on rounding.",
    "It could be 75 or 76.", "It might be 74, or it might be 75.", "If rounding up, 75; otherwise 74.",
    "The answer is 74 (or 75).", "74 (maybe 75)", "Some number between 0 and 75",
    "75 is one of the possible answers.", "Possible answers: 74, 75", "possible answers include 75",
    "My guesses: 73, 74, 75", "I have two answers: 74 and 75.", "The answer is not 74. It is not 75 either.",
    "neither is it 75", "75 is too high.", "75 is too small.", "75 is ruled out.", "75 is excluded.",
    "75 has been eliminated.", "We can exclude 75.", "We reject 75.", "Forget 75.", "Ignore 75.",
    "close to 75 but not 75", "just under 75", "slightly more than 75", "well below 75", "fewer than 75",
    "75 at most", "75 at least", "75 tops", "exceeds 75", "greater than or equal to 75", "x is at least 75",
    "Nothing.", "the answer is the sum of 49 and 26", "What is 49+26? The answer is 49+26.", "49 + 26 = 49 + 26",
    "75 = 49+26+0-75+75+1-1",
]  # fmt: skip
NOT_48_LANGUAGES = [
    "By no means is it 48.", "Anything but 48!", "All numbers except 48.", "Assume it is 48.",
    "anywhere from 40 to 48", "at least 48 seats", "as many as 48", "no fewer than 48", "not fewer than 48",
    "over 48 seats", "above 48", "a maximum of 48 seats", "a minimum of 48", "48 plus 2",
    "Answer 1: 48. Answer 2: 50.", "Answer 1: 50. Answer 2: 48.", "nicht 48", "auf keinen Fall 48", "48 ist falsch.",
    "48 ist es nicht.", "ce n'est pas 48", "48 est faux", "no es 48", "48 es incorrecto", "не 48", "48 неверно",
    "答案不是48", "48是错的", "48不对", "48ではない", "48ではありません", "48이 아닙니다", "48 नहीं है", "mindestens 48 Sitze",
    "weniger als 48", "moins de 48", "menos de 48", "menos que 48", "меньше 48", "少于48", "多于48个", "48以上です", "48 이상",
    "48 oder 50", "48 ou 50", "48 o 50", "48 или 50", "48或50", "48か50", "48 또는 50",
]  # fmt: skip
NOT_48_MARKS_AND_FORMULAS = [
    "in [40, 48]", "40 < x < 48", "x < 48", "x <= 48", "$12 \\times 4 + 0$", "\\boxed{50-2}", "\\boxed{48+0}",
    "[48, 50]", "\\{48, 50\\}", "{48, 50}", "\\sqrt{48}", "<!-- 48 -->", "<think>48</think>",
    "<think>48</think>no idea", "<think>The answer is 48.", "\\boxed{48} or \\boxed{50}", "\\boxed{48, 50}",
    "\\boxed{48 \\text{ or } 50}", "\\boxed{48}\\boxed{50}", "<answer>48 or 50</answer>", "#### 48 or 50",
]  # fmt: skip
NOT_48_ANSWERS = [
    "The answer is by no means 48.", "It is nowhere near 48.", "48 is far too high.", "48 is nonsense.",
    "48 does not work.", "48 doesn't fit.", "48 won't do.", "48 fails.", "48 must be wrong.", "48 has to be wrong.",
    "48 seems wrong to me.", "48 turned out to be wrong.", "48 was my first guess, but it is wrong.",
    "I used to think 48, but I was wrong.", "I rejected 48.", "48 was rejected.", "It is wrong to say 48.",
    "It's false that the answer is 48.", "It is not true that the answer is 48.", "It is not the case that it is 48.",
    "I can't say 48.", "I wouldn't say 48.", "I refuse to say 48.", "Whatever it is, it's not 48.",
    "The answer is any number other than 48.", "The answer isn't 48.", "The answer wasn't 48.",
    "The answer can't possibly be 48.", "The answer could not be 48.", "The answer is never 48.",
    "The answer is no longer 48.", "If the answer were 48, it'd be even.", "Suppose the answer is 48.",
    "Whether it is 48 is unclear.", "Unless it is 48, I don't know.", "Might it be 48?", "Would it be 48?",
    "Does it equal 48?", "Who said 48?", "Why 48?", "Is it 47 or 48?", "47 or 48?", "48 or 49", "48 or so? 49",
    "either 48 or 50", "48 and 50", "48; 50", "48 / 50", "48 vs 50", "48–50", "48 - 50", "48 to 50", "48 through 50",
    "from 48 up to 50", "between 48 and 50", "in the range 40-48", "x >= 48", "x != 48", "48 seats at least",
    "48 or more seats", "48 seats or more", "48 or fewer", "up to 48", "more than 48 seats", "fewer than 48 seats",
    "below 48", "exceeding 48", "the upper bound is 48 or less", "twice 48", "half of 48", "48 squared", "48 times 2",
    "2 more than 48", "2 less than 48", "48 minus 0", "48+0", "0+48", "50-2", "The answer is 50 - 2.",
    "The sum of 40 and 8", "40, 8, 48", "12, 4, 48", "1, 2, 3, 4, 12, 48", "-48", "48i", "48x", "48π", "480", "4.8",
    "0.48", "48.5", "1048", "48k", "48 million", "48e2", "(48, 0)", "48!", "48^2", "√48", "The answer is hidden.", "",
    "?", "I do not know", "Option A: 47. Option B: 48.", "It may be 50, or it may be 48.", "Maybe 50, maybe 48",
    "50, or perhaps 48", "50 (or possibly 48)", "48 (or possibly 50)", "The answer is 48 or 50.",
    "The answer is either 48 or 50.", "The answer is 48, or maybe 50.", "The answer is 48. Wait, no: 50.",
    "48. No, 50.", "48... Actually 50.", "48, sorry, 50",
]  # fmt: skip
NOT_36_LANGUAGES = [
    "There's no chance that it's 36.", "36 is not a valid answer.", "Let's eliminate 36.",
    "Nobody believes the answer is 36.", "One might think it is 36.", "Are there 36 lamps?", "at least 36 lamps",
    "a minimum of 36 lamps", "no more than 36 lamps", "Less than 36.", "at the very most 36", "nicht 36 Lampen",
    "36 ist nicht richtig.", "Die Antwort ist nicht 36.", "La réponse n'est pas 36.", "36 n'est pas la réponse.",
    "La respuesta no es 36.", "36 no es la respuesta.", "不是36", "36不是答案。", "答案肯定不是36。", "36は間違いです。", "答えは36ではありません。",
    "답은 36이 아닙니다.", "Ответ не 36.", "الجواب ليس 36", "उत्तर 36 नहीं है।", "höchstens 36 Lampen", "au plus 36 lampes",
    "a lo sumo 36 lámparas", "至少36盏", "36以下", "не более 36 ламп", "32 oder 36", "32 ou 36", "32 o 36", "32或36",
    "32または36", "32 или 36",
]  # fmt: skip
NOT_36_MARKS_AND_FORMULAS = [
    "32 < x < 36", "[32, 36]", "\\boxed{40-4}", "\\boxed{6^2}", "\\sqrt{1296}+0", "\\boxed{32}, \\boxed{36}",
    "\\boxed{36 \\text{ or } 32}", "<think>36</think>", "<think>36</think>\n", "<think>\nThe answer is 36.\n",
    "<!-- answer: 36 -->",
]  # fmt: skip
NOT_36_ANSWERS = [
    "It most certainly isn't 36.", "36 is certainly wrong.", "36 isn't the right answer.", "36 would be too many.",
    "36 can be ruled out.", "We can rule out 36.", "Not 36.", "It's definitely not 36 lamps.", "no, not 36",
    "The answer is something other than 36.", "The answer isn't equal to 36.", "The answer doesn't equal 36.",
    "I do not believe it is 36.", "I'm not saying it's 36.", "Suppose it were 36.", "What if it is 36?",
    "Is 36 the answer?", "Should I say 36?", "36 or 32", "32 or 36", "either 32 or 36 lamps", "32 lamps or 36 lamps",
    "32 lamps, or maybe 36 lamps", "36 lamps or 32 lamps", "between 32 and 36 lamps", "32 to 36 lamps", "32-36 lamps",
    "from 32 to 36", "36 lamps or more", "more than 36 lamps", "fewer than 36 lamps", "well over 36", "just under 36",
    "x > 36", "(32, 36)", "36 + 0", "40 - 4", "The answer is 40 - 4.", "30+6", "The sum of 30 and 6.", "half of 72",
    "twice 36", "36 doubled", "the square root of 36", "36²", "36!", "-36", "0.36", "3.6", "360", "36k", "36 million",
    "36.5", "36π", "36x", "36 and 32", "36, 32", "32, 36", "36/32", "The answer is 36. Wait, it's 32.",
    "The answer is 36. Hmm, no, 32.", "36. Oops, I mean 32.", "36? No, 32.", "Guess 1: 36. Guess 2: 32.",
    "The first answer is 36. The second answer is 32.", "I don't know, maybe 32 or 36.",
]  # fmt: skip
RIGHT = [
    *((p, "75") for p in IS_75_LANGUAGES),
    *((p, "75") for p in IS_75_MARKS_AND_FORMULAS),
    *((p, "75") for p in IS_75_ANSWERS),
    *((p, "48") for p in IS_48_LANGUAGES),
    *((p, "48") for p in IS_48_MARKS_AND_FORMULAS),
    *((p, "48") for p in IS_48_ANSWERS),
    *((p, "36") for p in IS_36_LANGUAGES),
    *((p, "36") for p in IS_36_MARKS_AND_FORMULAS),
    *((p, "36") for p in IS_36_ANSWERS),
]
WRONG = [
    *((p, "75") for p in NOT_75_LANGUAGES),
    *((p, "75") for p in NOT_75_MARKS_AND_FORMULAS),
    *((p, "75") for p in NOT_75_ANSWERS),
    *((p, "48") for p in NOT_48_LANGUAGES),
    *((p, "48") for p in NOT_48_MARKS_AND_FORMULAS),
    *((p, "48") for p in NOT_48_ANSWERS),
    *((p, "36") for p in NOT_36_LANGUAGES),
    *((p, "36") for p in NOT_36_MARKS_AND_FORMULAS),
    *((p, "36") for p in NOT_36_ANSWERS),
]


@pytest.mark.parametrize("verifier", ["math", "numeric"])
@pytest.mark.parametrize(("pred", "gold"), RIGHT)
def test_an_answer_in_prose_counts(verifier: str, pred: str, gold: str):
    assert score(verifier, pred, gold) == 1.0


@pytest.mark.parametrize("verifier", ["math", "numeric"])
@pytest.mark.parametrize(("pred", "gold"), WRONG)
def test_a_number_that_is_no_answer_does_not_count(verifier: str, pred: str, gold: str):
    assert score(verifier, pred, gold) == 0.0


@pytest.mark.parametrize("verifier", ["math", "numeric"])
@pytest.mark.parametrize("pred", ["12*4", "The answer is 12*4.", "\\boxed{12 \\cdot 4}", "What is 12*4?"])
def test_the_question_repeated_is_no_answer(verifier: str, pred: str):
    assert score(verifier, pred, "48", "What is 12*4?") == 0.0
