"""Reads units of measurement: what they measure, and how large they are beside others of their kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

from rewards.answers.notation import WORD_MARK


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: the dimensions it measures in, with their powers, and its size in their base units. A counted noun ("12
    apples") has no dimension: it says what is counted and may be left out or said otherwise."""

    dimensions: Mapping[str, int] = field(default_factory=dict[str, int])
    size: Fraction = Fraction(1)
    noun: str = ""

    @property
    def is_empty(self) -> bool:
        """True where nothing stands behind the number."""
        return not self.dimensions and not self.noun


NO_UNIT = Unit()
PERCENT = Unit({"percent": 1})
DEGREES = Unit({"angle": 1})
_TEMPERATURES = frozenset({"celsius", "fahrenheit"})


_TABLE: dict[str, dict[str, str]] = {  # dimension -> size in its base unit -> the unit's names
    "length": {
        "1": "m meter meters metre metres 米",
        "1/100": "cm centimeter centimeters centimetre centimetres 厘米 公分",
        "1/1000": "mm millimeter millimeters millimetre millimetres 毫米",
        "1/10": "dm decimeter decimeters 分米",
        "1000": "km kilometer kilometers kilometre kilometres 千米 公里",
        "254/10000": "inch inches in",
        "3048/10000": "ft foot feet 英尺",
        "9144/10000": "yd yard yards",
        "1609344/1000": "mi mile miles 英里",
        "1/1000000": "µm micrometer micrometers micrometre micrometres",
        "1/1000000000": "nm nanometer nanometers nanometre nanometres",
    },
    "mass": {
        "1": "g gram grams gramme grammes 克",
        "1000": "kg kilogram kilograms kilo kilos 千克 公斤",
        "1/1000": "mg milligram milligrams 毫克",
        "1000000": "tonne tonnes 吨",
        "45359237/100000": "lb lbs pound pounds 磅",
        "45359237/1600000": "oz ounce ounces",
    },
    "time": {
        "1": "s sec secs second seconds 秒 秒钟 seconde secondes sekunde sekunden segundo segundos",
        "60": "min mins minute minutes 分 分钟 minuten minuto minutos",
        "3600": "h hr hrs hour hours 小时 时 heure heures stunde stunden hora horas",
        "86400": "day days 天 日 jour jours tag tage día días",
        "604800": "week weeks 周 星期",
        # A month and a year of the Gregorian calendar's mean length, 365.2425 days to the year.
        "2629746": "month months 月 个月",
        "31556952": "year years yr yrs 年 岁",
        "1/1000": "ms millisecond milliseconds 毫秒",
        "1/1000000": "microsecond microseconds",
        "1/1000000000": "ns nanosecond nanoseconds",
    },
    "volume": {
        "1": "L l liter liters litre litres 升",
        "1/1000": "mL ml milliliter milliliters millilitre millilitres 毫升",
        "1/100": "cL cl centiliter centiliters",
        "3785411784/1000000000": "gal gallon gallons",
        "946352946/1000000000": "quart quarts",
        "473176473/1000000000": "pint pints",
    },
    "angle": {"1": "deg degree degrees 度"},
    "radian": {"1": "rad radian radians 弧度"},
    "celsius": {"1": "C celsius 摄氏度"},
    "fahrenheit": {"1": "F fahrenheit 华氏度"},
    "kelvin": {"1": "K kelvin kelvins"},
    "dollar": {"1": "dollar dollars buck bucks usd USD 美元 dólares", "1/100": "cent cents ¢ 美分"},
    "euro": {"1": "euro euros eur EUR 欧元"},
    "pound sterling": {"1": "gbp GBP", "1/100": "pence"},
    "yuan": {"1": "yuan rmb RMB CNY 元 块 人民币", "1/10": "角", "1/100": "分钱"},
    "yen": {"1": "yen JPY 日元"},
    "rupee": {"1": "rupee rupees INR"},
    "percent": {"1": "% percent percentage pct 百分之 prozent pourcent"},
    "frequency": {"1": "Hz hz hertz 赫兹", "1000": "kHz khz kilohertz", "1000000": "MHz megahertz"},
    "sound": {"1": "dB db decibel decibels 分贝"},
    "charge": {"1": "coulomb coulombs"},
    "current": {"1": "A amp amps ampere amperes", "1/1000": "mA"},
    "voltage": {"1": "V volt volts", "1/1000": "mV", "1000": "kV"},
    "power": {"1": "W watt watts 瓦", "1000": "kW kilowatt kilowatts", "1000000": "MW megawatt megawatts"},
    "energy": {"1": "J joule joules 焦耳", "1000": "kJ kilojoule kilojoules", "1/1000": "mJ"},
    "force": {"1": "N newton newtons 牛顿", "1000": "kN"},
    "pressure": {"1": "Pa pascal pascals", "1000": "kPa", "101325": "atm"},
    "resistance": {"1": "ohm ohms \\Omega", "1000": "kiloohm kiloohms"},
    "amount": {"1": "mol mole moles"},
    "data": {"1": "byte bytes", "1/8": "bit bits"},
}
CURRENCIES = frozenset({"dollar", "euro", "pound sterling", "yuan", "yen", "rupee"})
"""Dimensions that are money."""
_UNITS: dict[str, Unit] = {
    name: Unit({dimension: 1}, Fraction(size))
    for dimension, sizes in _TABLE.items()
    for size, names in sizes.items()
    for name in names.split()
}
_UNITS["mph"] = Unit({"length": 1, "time": -1}, _UNITS["mile"].size / 3600)
_UNITS["kph"] = _UNITS["kmph"] = Unit({"length": 1, "time": -1}, Fraction(1000, 3600))
_GLUED_UNITS = frozenset(name for name in _UNITS if len(name) > 1)  # `5km` has a unit; `5m` may be a product with m
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3, "平方": 2, "立方": 3}
_TOKEN = re.compile(
    rf"\s*(?:(?P<degrees>\^\{{\\circ\}}\s*(?P<scale>[CF](?![a-zA-Z]))?)|(?P<power>平方|立方)|(?P<name>%|¢|\\Omega(?![a-z])|{WORD_MARK}?[^\W\d_]+(?:-[^\W\d_]+)*)"
    r"|\^\{(?P<exponent>-?\d)\}|(?P<per>/)|(?P<times>\\cdot(?![a-z])))"
)
_FRACTION = re.compile(
    rf"\s*\\frac\{{((?=[^{{}}]*{WORD_MARK})(?:[^{{}}]|\{{[^{{}}]*\}})*)\}}\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}\s*"
)
_UNNAMED = re.compile(
    rf"\s*(?:{WORD_MARK}?(?:square|sq\.?|cubic|cu\.?)\s*)?{WORD_MARK}?units?\.?\s*(?:\^\{{\d\}})?\s*"
)  # any unit
_PER = frozenset({"per", "a", "an", "each", "every", "par", "pro"})
_CJK_POWER = re.compile(r"^(平方|立方)(.+)$")
_MOST_NOUN_WORDS, _LONGEST = 6, 200


@lru_cache(maxsize=1024)
def read_unit(text: str) -> Unit | None:
    """Return the unit that a plain text consists of: `km/h`, `m^{2}`, `square meters`, `平方厘米`, `dollars per hour`, or the
    noun of what is counted; None where it is neither."""
    if not text.strip():
        return NO_UNIT
    if fraction := _FRACTION.fullmatch(text):
        text = f" {fraction[1].strip()}/{fraction[2].strip()}"
    text = re.sub(r"/\s*\(([^()]*)\)\s*$", r"/\1", text)  # everything after a bar is in the denominator anyway
    if _UNNAMED.fullmatch(text):
        return NO_UNIT
    if len(text) > _LONGEST:
        return None
    unit = _read_measure(text)
    if unit is not None:
        return unit
    return _read_noun(text)


def _read_measure(text: str) -> Unit | None:
    dimensions: dict[str, int] = {}
    size = Fraction(1)
    # direction: -1 behind "per" or a slash. power: of the "square" before a unit. last: the unit that an exponent
    # behind it raises; None where there is nothing to raise.
    direction, power, position = 1, 1, 0
    last: Unit | None = None
    is_glued = not text[:1].isspace()
    while position < len(text.rstrip()):
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        first = position == 0
        position = token.end()
        name = (token["name"] or "").lstrip(WORD_MARK)
        if token["per"] or name in _PER:
            direction, last = -1, None
            continue
        if token["times"]:
            continue
        if token["exponent"] or name in ("squared", "cubed"):
            # One less: the unit was multiplied once when it was read.
            extra = (int(token["exponent"]) if token["exponent"] else _POWERS[name]) - 1
            if last is None:
                return None
            _multiply(dimensions, last, direction * extra)
            size *= last.size ** (direction * extra)
            last = None
            continue
        if token["power"] or name in _POWERS:
            power = _POWERS[token["power"] or name]
            continue
        unit = _named_unit(token, name, glued=first and is_glued and not (token["name"] or "").startswith(WORD_MARK))
        if unit is None:
            return None
        if last == DEGREES and last is not None and set(unit.dimensions) <= _TEMPERATURES:  # degrees Celsius
            _multiply(dimensions, last, -direction)
        _multiply(dimensions, unit, direction * power)
        size *= unit.size ** (direction * power)
        last, power = unit, 1
    return Unit({name: n for name, n in dimensions.items() if n}, size)


def _named_unit(token: re.Match[str], name: str, glued: bool) -> Unit | None:
    if token["degrees"]:
        return _UNITS[token["scale"]] if token["scale"] else DEGREES
    if name in ("deg", "degree", "degrees"):
        return DEGREES
    if glued and name not in _GLUED_UNITS and name.isascii() and name != "%":
        return None
    return _UNITS.get(name) or (_UNITS.get(name.lower()) if len(name) > 2 else None)


def _multiply(dimensions: dict[str, int], unit: Unit, power: int) -> None:
    for name, n in unit.dimensions.items():
        dimensions[name] = dimensions.get(name, 0) + n * power


# Words after a number that change its meaning, and so are no counted noun
_CHANGING = re.compile(
    r"\b(?:or|and|to|not|nor|than|least|most|more|less|fewer|over|under|minimum|maximum|above|below|between|plus|minus|times"
    r"|half|quarters?|thirds?|hundred|thousand|million|billion|trillion|dozen|squared|cubed|factorial|mod|modulo|through|wrong"
    r"|incorrect|if|when|unless|except|either|neither|maybe|perhaps|no|ou|oder|und|et|o|y)\b|[万亿千百或]",
    re.IGNORECASE,
)
_NOUN = re.compile(rf"(?:\s*+{WORD_MARK}?[^\W\d_]++(?:['’-][^\W\d_]++)*+)++\s*+")


def _read_noun(text: str) -> Unit | None:
    """Return what is counted, in words: at most six of them, and none that changes the number."""
    words = text.replace(WORD_MARK, "").split()
    if not _NOUN.fullmatch(text) or len(words) > _MOST_NOUN_WORDS or _CHANGING.search(text.replace(WORD_MARK, "")):
        return None
    first = words[0]
    if first == "in":  # "5 in total"
        return Unit(noun=" ".join(words).casefold())
    measure = _read_measure(f" {first}") if len(words) > 1 else None
    if measure is not None:  # "centimetres long", "hours of work"
        return measure
    if len(first) == 1 and first.isascii():
        return None  # a variable
    glued = not text[:1].isspace() and not text.startswith(WORD_MARK) and first.isascii()
    if glued and len(first) < 4:
        return None  # `3xy` is a product
    return Unit(noun=" ".join(words).casefold())


def same_kind(a: Unit, b: Unit) -> bool:
    """Return whether an answer's unit `b` measures the same as the gold's `a`, so that their numbers can be compared. Where
    one is missing, or both are nouns, they do."""
    if a.is_empty or b.is_empty or (a.noun and b.noun):
        return True
    if a.dimensions and set(a.dimensions) <= _TEMPERATURES and set(b.dimensions) == {"angle"}:
        return True  # 20° may leave out the C, but no angle has one
    return dict(a.dimensions) == dict(b.dimensions) and bool(a.noun) == bool(b.noun)
