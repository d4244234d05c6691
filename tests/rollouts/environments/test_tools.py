"""The bundled tools, on what a model may write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rl.audio import SAMPLE_RATE, encode, waveform
from rl.types import Clip, Prompt
from rollouts.environments.tool import BadCallError, Tool, load_tool
from rollouts.environments.tools.calculator import calculator
from rollouts.environments.tools.search import search

WAVE = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * SAMPLE_RATE).astype(np.float32)
PROMPT = Prompt("p", (), clips=(Clip(data=encode(WAVE, bits=24)),))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"), ("(48 / 2) + 24", "48"), ("0.1 + 0.2", "0.3"), ("1 / 3", "0.333333333333"),
        ("1/3 * 3", "1"), ("2^10", "1024"), ("12 × 3 ÷ 4", "9"), ("5 − 7", "-2"), ("1,234,567 + 1", "1234568"),
        ("7 // 2", "3"), ("-7 % 3", "2"), ("sqrt(2)", "1.41421356237"), ("sqrt(16)", "4"), ("factorial(20)", "2432902008176640000"),
        ("sin(pi / 6)", "0.5"), ("ln(e)", "1"), ("abs(-3.5)", "3.5"), ("min(3, 1, 2)", "1"), ("gcd(12, 18)", "6"), ("3 + 4 =", "7"),
        ("2 ** -2", "0.25"), ("1e3", "1000"), ("100 * 1.05 ** 10", "162.889462678"), ("floor(2.7) + ceil(2.1)", "5"), ("[1 + 2] * {3}", "9"), ("max(7)", "7"),
        ("1/10^10", "0.0000000001"), ("3/10^10", "0.0000000003"), ("1e-10*5", "0.0000000005"), ("-1/10^12", "-0.000000000001"),
        ("1/10^13", "1e-13"), ("(10^61+1)/2", f"5{'0' * 60}.5"), ("-(10^61+1)/2", f"-5{'0' * 60}.5"), ("10^60/8", f"125{'0' * 57}"),
        ("(1/3)^700", "1.03543227066e-334"), ("10^400/3", "3.33333333333e+399"), ("-10^400/3", "-3.33333333333e+399"),
        ("exp(-1000)", "5.07595889755e-435"), ("sqrt(2)/10^20", "1.41421356237e-20"), ("10^11/3", "33333333333.3"), ("1/30", "0.0333333333333"),
        ("2/3*10^20", "6.66666666667e+19"), ("sqrt(10^30+1)", "1e+15"), ("1/2^50", "8.881784197e-16"), ("100.50", "100.5"),
        ("((1/3)^500)^2", "7.5638913231e-478"), ("ln((1/3)^700)", "-769.028602068"), ("sin(1)^2+cos(1)^2-1", "0"), ("(10^400)^(1/2)", f"1{'0' * 200}"), ("-0.5", "-0.5"), ("sqrt(2)*1000", "1414.21356237"),
        ("max(5,100)", "100"), ("min (2,300)", "2"), ("gcd(12,180)", "12"), ("gcd(5)", "5"), ("lcm(5)", "5"), ("lcm(4,6)", "12"), ("min(max(1,200),300)", "200"),
        ("max(sqrt(1,024), 3,100)", "100"), ("(1,234,567) + 1", "1234568"), ("sin(pi)", "0"), ("log(1)", "0"), ("factorial(sqrt(16))", "24"), ("gcd(sqrt(16), 6)", "2"),
        ("floor((sqrt(2)+1)*(sqrt(2)-1))", "1"), ("ceil(log(8)/log(2))", "3"), ("floor(exp(pi*sqrt(163)))", "262537412640768743"), ("10**30 % pi", "0.0902393238981"),
        # Many digits, and terms that cancel: symbolic algebra takes minutes over them.
        ("floor(10**300*log(3)) % 10^12", "36317373298"), ("10**300//log(1/3) % 10^12", "181602217221"), ("ceil(exp(700)) % 10^12", "609994944590"), ("10**300 % pi", "1.40177830553"),
        ("max(sin(1)^2+cos(1)^2, 1)", "1"),
    ],
)  # fmt: skip
def test_the_calculator(expression: str, value: str) -> None:
    assert calculator(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "", "2 +", "1 / 0", "5 % 0", "9 ** 9 ** 9", "factorial(1000)", "factorial(-1)", "sqrt(-1)", "log(0)", "(-8) ** (1/3)",
        "__import__('os').system('id')", "().__class__", "gcd(0.5, 2)", "'a' * 10**9", "lambda: 0", "x + 1", "1 if 2 else 3",
        "1e999", "9" * 700, "2 ** 5000", "True + 1", "1j", "exp(100000)", "(" * 450, "max()", "0 ** -1", "calc(2)", "1 < 2", "nan",
        "10 ** 600 * 10 ** 600", "sqrt(2) ** 100000", "2 + 3; 4", "\x00", "10^400 // pi", "((1/3)^700)^2", "exp(-2000)^2", "ln(0/5)", "log(-(1/3)^700)",
        "max(1,000, 5)", "lcm(4, 1,000)", "max([5,100])", "gcd()", "1/(sin(1)^2+cos(1)^2-1)", "tan(pi/2)", "exp(-2000)",
    ],
)  # fmt: skip
def test_the_calculator_refuses(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        calculator(expression)


def tool(spec: str, folder: Path | None = None, **args: object) -> Tool:
    return load_tool(spec, args, None, folder)


def test_listen_gives_the_samples_of_the_stretch() -> None:
    heard = tool("listen").call({"start": 0.5, "end": "1.25"}, PROMPT)
    assert isinstance(heard, Clip)
    stretch = waveform(PROMPT.clips[0])[SAMPLE_RATE // 2 : SAMPLE_RATE * 5 // 4]
    assert np.abs(waveform(heard) - stretch).max() < 1e-6


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.5, 1.25), (1.5, 2.0), (0.0, 1.9), (1.8, 2.04)])
def test_the_control_gives_another_stretch_as_long(start: float, end: float) -> None:
    wave = waveform(PROMPT.clips[0])
    assert len(wave) == 2 * SAMPLE_RATE
    right, other = (
        waveform(tool("listen", None, elsewhere=elsewhere).call({"start": start, "end": end}, PROMPT))
        for elsewhere in (False, True)
    )
    assert len(other) == len(right)
    assert not np.array_equal(other, right)
    assert any(np.abs(wave[i : i + len(other)] - other).max() < 1e-6 for i in range(len(wave) - len(other) + 1))
    with pytest.raises(ValueError, match="the whole clip was asked for") as error:
        tool("listen", None, elsewhere=True).call({"start": 0, "end": 2}, PROMPT)
    assert getattr(error.value, "reason", None) == "no_other"


def test_another_stretch_holds_as_much_sound_where_there_is_any() -> None:
    sound, loud, faint = 0.2 * np.sin(np.arange(8000)), 0.9 * np.sin(np.arange(8000)), 0.01 * np.sin(np.arange(8000))
    wave = np.zeros(6 * SAMPLE_RATE)
    for start, part in ((0.5, sound), (1.0, loud), (3.5, faint), (5.0, sound)):
        wave[round(start * SAMPLE_RATE) :][:8000] = part
    prompt = replace(PROMPT, clips=(Clip(data=encode(wave.astype(np.float32), bits=24)),))

    def hear_other(start: float) -> np.ndarray:
        return waveform(tool("listen", None, elsewhere=True).call({"start": start, "end": start + 0.5}, prompt))

    # Half of the way round there is silence or little; the nearest that will do is taken, also round the end.
    assert np.allclose(hear_other(0.5), sound, atol=1e-3)  # from 5.0 s, for the loud one is farther
    assert np.allclose(hear_other(5.0), loud, atol=1e-3)
    assert np.allclose(hear_other(1.0), sound, atol=1e-3), "nothing is as loud: the loudest that there is"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1, 0.5", "reversed"), ("1.0, 1.1", "too_short"), ("1, 1", "too_short"), ("1, 9", "out_of_clip"), ("-1, 1", "out_of_clip"),
        ("0, 1, 2", "no_clip"), ("0, 1, 0", "no_clip"), ("a, b", "malformed"), ("", "malformed"), ("1", "malformed"), ("1, 2, 3, 4", "malformed"),
        ("nan, 1", "malformed"), ("0, inf", "malformed"), ("1.0-2.0", "malformed"), ("1,5, 2,0", "malformed"), ("٣, x", "malformed"),
        ("1e400, 2", "malformed"), ("0, 1, 1.5", "malformed"),
    ],
)  # fmt: skip
def test_what_cannot_be_heard_has_a_reason(content: str, reason: str) -> None:
    listen = tool("listen")
    with pytest.raises(ValueError, match=r".") as error:
        listen.call(listen.read_content(content), PROMPT)
    assert getattr(error.value, "reason", None) == reason


@pytest.mark.parametrize("elsewhere", [False, True])
def test_behind_the_end_of_a_clip_is_nothing_to_hear(elsewhere: bool) -> None:
    with pytest.raises(ValueError, match=r"^2\.02 to 2\.05 s is shorter than 0\.2 s$") as error:
        tool("listen", None, elsewhere=elsewhere).call({"start": 2.02, "end": 2.05}, PROMPT)
    assert getattr(error.value, "reason", None) == "too_short"


def test_what_the_recipe_gives_a_tool_is_of_its_type() -> None:
    with pytest.raises(ValueError, match=r"args\.elsewhere: expected true or false; got 'false'"):
        tool("listen", None, elsewhere="false")  # a text that is not empty would pass for true


def test_search_finds_the_passage(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("The cat sleeps all day.\n\nOwls hunt at night.\n\nThe owl and the cat went to sea.", "utf-8")
    assert search("which owls hunt", file=file, results=1) == "[1] Owls hunt at night."
    assert search("zebra", file=file) == "no passage matches"
    assert search("THE owl", file=file).startswith("[1] The owl and the cat")
    with pytest.raises(ValueError, match="an empty query"):
        search(" ?! ", file=file)
    (tmp_path / "rules.txt").write_text("---\n\n***\n")
    with (tmp_path / "large.txt").open("w") as large:
        large.truncate((64 << 20) + 1)
    for name, message in {"rules.txt": "holds no word; name a file of text", "large.txt": "larger than 64 MB"}.items():
        with pytest.raises(ValueError, match=rf"^{tmp_path}/{name}: {message}"):  # before the run, not at each call
            tool("search", tmp_path, file=name)
    found = tool("search", tmp_path, file="notes.txt").call({"query": "owl"}, PROMPT)
    assert isinstance(found, str)
    assert "went to sea" in found


def test_python_in_the_sandbox() -> None:
    python = tool("python", seconds=2.0)
    assert python.call({"code": "x = [i * i for i in range(4)]\nsum(x)"}, PROMPT) == "14"
    assert python.call({"code": "print('hi')"}, PROMPT) == "hi"
    assert python.call({"code": "1 / 0"}, PROMPT) == "ZeroDivisionError: division by zero"
    assert "SyntaxError" in str(python.call({"code": "x ="}, PROMPT))
    assert python.call({"code": ""}, PROMPT) == "(printed nothing)"
    with pytest.raises(ValueError, match=r"."):
        python.call({"code": "while True: pass"}, PROMPT)


def test_a_tool_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own_weather.py").write_text(
        "from rl.types import Prompt\n"
        "def weather(prompt: Prompt, city: str, days: int = 1, metric: bool = True, *, key: str) -> str:\n"
        "    '''Return the weather of a city.\n\n    For some days.'''\n"
        "    return f'{prompt.id} {city} {days} {metric} {key}'\n"
    )
    own = tool("own_weather.py:weather", tmp_path, key="k")
    assert own.call({"city": "Bern", "days": "3"}, PROMPT) == "p Bern 3 True k"
    function = own.schema["function"]
    assert function == {
        "name": "weather",
        "description": "Return the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "metric": {"type": "boolean"}},
            "required": ["city"],
        },
    }
    for arguments in ({}, {"city": "x", "days": "many"}, {"city": "x", "moon": 1}, {"city": "x", "metric": "yes"}):
        with pytest.raises(BadCallError):
            own.call(arguments, PROMPT)
    with pytest.raises(ValueError, match="missing argument 'key'"):
        tool("own_weather.py:weather", tmp_path)
    with pytest.raises(ValueError, match="unknown argument 'kee'; did you mean 'key'"):
        tool("own_weather.py:weather", tmp_path, key="k", kee="x")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (9007199254740993, 9007199254740993), ("9007199254740993", 9007199254740993), ("12345678901234567891", 12345678901234567891),
        ("9007199254740993.0", 9007199254740993), (7.0, 7), (" 7 ", 7), ("1e3", 1000), ("-0", 0),
        (True, None), (7.5, None), ("7.5", None), ("9007199254740992.5", None), ("1e999999999", None), ("6/3", None), ("nan", None), ("inf", None), ([7], None),
    ],
)  # fmt: skip
def test_a_whole_number_stays_what_it_is(tmp_path: Path, value: object, number: int | None) -> None:
    (tmp_path / "own_count.py").write_text("def count(n: int) -> str:\n    return repr(n)\n")
    count = tool("own_count.py:count", tmp_path)
    if number is not None:
        assert count.call({"n": value}, PROMPT) == str(number)
        return
    with pytest.raises(BadCallError, match=r"^count: n is to be a whole number$"):
        count.call({"n": value}, PROMPT)


def test_a_tool_whose_parameters_have_no_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own_fetch.py").write_text("def fetch(text: str, /) -> str:\n    return text\n")
    with pytest.raises(
        ValueError, match=r"^tool 'own_fetch\.py:fetch': its arguments are given by name; remove the `/`"
    ):
        tool("own_fetch.py:fetch", tmp_path)


def test_no_call_sees_what_another_made_of_the_recipes_arguments(tmp_path: Path) -> None:
    (tmp_path / "own_cards.py").write_text("def draw(n: int, *, deck: list) -> str:\n    return str(deck.pop())\n")
    draw = tool("own_cards.py:draw", tmp_path, deck=[1, 2, 3])
    assert [draw.call({"n": 1}, PROMPT) for _ in range(4)] == ["3"] * 4


def test_numbers_of_any_kind_are_answers(tmp_path: Path) -> None:
    (tmp_path / "own_numbers.py").write_text(
        "from decimal import Decimal\nfrom fractions import Fraction\nimport numpy as np\n"
        "VALUES = {'f': Fraction(1, 3), 'd': Decimal('1.50'), 'n': np.int64(7), 'x': np.float32(0.5), 'b': b'no', 'o': object()}\n"
        "def number(kind: str):\n    return VALUES[kind]\n"
    )
    number = tool("own_numbers.py:number", tmp_path)
    assert [number.call({"kind": kind}, PROMPT) for kind in "fdnx"] == ["1/3", "1.50", "7", "0.5"]
    for kind in "bo":
        with pytest.raises(TypeError, match="return text, a number, a Clip or a Reply"):
            number.call({"kind": kind}, PROMPT)
