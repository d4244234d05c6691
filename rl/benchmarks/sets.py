"""The public sets by the names that `rl benchmark` gives them."""

from __future__ import annotations

from rl.benchmarks import choices, speech, texts
from rl.benchmarks.benchmark import Benchmark
from rl.config import ConfigError, did_you_mean

BENCHMARKS: dict[str, Benchmark] = {
    "mmau": choices.MMAU,
    "mmar": choices.MMAR,
    "mmsu": choices.MMSU,
    "big_bench_audio": speech.BIG_BENCH_AUDIO,
    "spoken_mqa": speech.SPOKEN_MQA,
    "wildspeech": speech.WILD_SPEECH_BENCH,
    "step_caption": speech.STEP_CAPTION,
    "step_spqa": speech.STEP_SPQA,
    "step_dialogue": speech.STEP_DIALOGUE,
    "dcase2025": choices.DCASE,
    "mmau_pro": choices.MMAU_PRO,
    "gsm8k": texts.GSM8K,
    "math500": texts.MATH500,
    "aime": texts.AIME,
    "bbh": texts.BBH,
}
"""Name -> the set."""


def find_benchmark(name: str, place: str) -> Benchmark:
    """Return the set of that name. Raises ConfigError."""
    if name not in BENCHMARKS:
        raise ConfigError(f"{place}: no benchmark '{name}'{did_you_mean(name, BENCHMARKS)}")
    return BENCHMARKS[name]
