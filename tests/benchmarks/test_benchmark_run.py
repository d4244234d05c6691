"""`rl benchmark` from its command line to its tables, with a listening model on the real engine."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from set_files import MMAU, sound, write_json

from models.load import build
from models.settings import AudioConfig, BuildConfig
from rl.report.benchmark_results import render_run


def write_items(folder: Path, count: int) -> Path:
    """Write MMAU's file with so many questions, each about a sound of its own; return the folder."""
    items = [
        MMAU
        | {"id": f"m{i}", "audio_id": f"./test-mini-audios/m{i}.wav", "category": ["Reasoning", "Perception"][i % 2]}
        for i in range(count)
    ]
    (folder / "test-mini-audios").mkdir(parents=True)
    for i in range(count):
        (folder / "test-mini-audios" / f"m{i}.wav").write_bytes(sound(i))
    write_json(folder / "mmau-test-mini.json", items, lines=False)
    return folder


def test_a_set_is_asked_and_told_with_what_its_figure_rests_on(tmp_path: Path) -> None:
    audio = AudioConfig(mel_bins=16, hidden_size=32, layers=1, heads=2)
    model = build(BuildConfig(hidden_size=64, layers=1, heads=2, audio=audio), tmp_path / "model", seed=0)
    data, out = write_items(tmp_path / "mmau", 4), tmp_path / "run"
    command = [sys.executable, "-m", "rl.cli", "benchmark", "mmau", str(model), "engines.kv_cache_mb=64"]
    options = ["--data", str(data), "--samples", "2", "--max-sequence-tokens", "256", "--out", str(out), "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    (result,) = output["results"]
    assert (result["items"], result["samples"]) == (4, 8)
    assert {cell["group"] for cell in result["figures"][0]["tables"]["category"]} == {"Reasoning", "Perception"}
    assert {"accuracy", "accuracy_silenced", "accuracy_swapped", "audio_reliance"} <= {*output["metrics"]}
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(render_run(out))
    table = console.export_text()
    assert "what it rests on" in table
    assert "not the whole set" in table
    report = (out / "report.html").read_text()
    assert "Who speaks?" in report, "samples stand in the report, with their verdicts"
    assert result["title"] in report
