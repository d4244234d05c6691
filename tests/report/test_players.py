from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from rl.audio import SAMPLE_RATE, waveform
from rl.messages import Exchange
from rl.report.page import write_report
from rl.report.players import render_players
from rl.report.samples import choose_samples
from rl.run.clips import store_clips, stored_clip
from rl.run.tracker import Tracker, rollout_files
from rl.types import AUDIO_PATCH, Clip, Message, Reply, Scored


def tone(hz: float, seconds: float = 0.5) -> Clip:
    file = io.BytesIO()
    samples = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE)
    soundfile.write(file, samples, SAMPLE_RATE, format="FLAC")
    return Clip(data=file.getvalue())


def heard(sample: Scored, id: str, *clips: Clip) -> Scored:
    return replace(sample, rollout=replace(sample.rollout, prompt=replace(sample.rollout.prompt, id=id, clips=clips)))


def test_a_clip_is_stored_once_and_as_it_came(tmp_path: Path) -> None:
    low, high = tone(220), tone(440)
    first, second, again = store_clips(tmp_path, [low, high, low])
    assert first == again != second
    assert len(list((tmp_path / "clips").iterdir())) == 2
    assert np.array_equal(waveform(stored_clip(tmp_path, first)), waveform(low))


def test_rollouts_name_their_clips_and_text_alone_has_no_such_column(tmp_path: Path, sample) -> None:
    tracker = Tracker(tmp_path, "rlvr")
    tracker.record_rollouts(1, [heard(sample(), "a", tone(220), tone(440)), heard(sample(), "b")])
    tracker.record_rollouts(2, [sample()])
    heard_file, text_file = (path for *_, path in rollout_files(tmp_path))
    assert [len(row["clips"]) for row in pq.read_table(heard_file).to_pylist()] == [2, 0]
    assert "clips" not in pq.read_schema(text_file).names


def test_the_report_plays_every_clip_that_fits(tmp_path: Path, sample) -> None:
    Tracker(tmp_path, "rlvr").record(1, {"reward": 1.0})
    clips = [tone(200 + 20 * i) for i in range(8)]
    Tracker(tmp_path, "rlvr").record_rollouts(1, [heard(sample(), str(i), c) for i, c in enumerate(clips)])
    names = [name for row in choose_samples(tmp_path) for name in row["clips"]]
    assert len(set(names)) == 8
    players = render_players(tmp_path, names, 1 << 20)
    assert {clip["seconds"] for clip in players.values()} == {0.5}
    assert all(clip["audio"].startswith("data:audio/ogg;base64,") for clip in players.values())
    assert 1 <= len(render_players(tmp_path, names, 10_000)) < 8
    page = write_report(tmp_path).read_text()
    assert page.count("data:audio/ogg") == page.count("data:image/png") == 8


@pytest.mark.parametrize("seconds", [0.02, 60.0])
def test_very_short_and_long_sounds_have_a_picture(tmp_path: Path, seconds: float) -> None:
    (name,) = store_clips(tmp_path, [tone(440, seconds)])
    assert render_players(tmp_path, [name], 1 << 20)[name]["seconds"] == seconds


def test_turns_are_shown_with_what_was_paid_and_heard(tmp_path: Path, sample) -> None:
    asked = Exchange("low?", Reply((Message("user", "sure?"),), reward=0.5, note="asked"), 2, 3)
    told = Exchange(
        "<seg>0, 0.3</seg>", Reply((Message("assistant", AUDIO_PATCH),), (tone(440, 0.3),), note="listen"), 4, 5
    )
    one = sample()
    turns = replace(one, rollout=replace(one.rollout, exchanges=(asked, told)))
    Tracker(tmp_path, "rlvr").record(1, {"reward": 1.0})
    Tracker(tmp_path, "rlvr").record_rollouts(1, [turns, sample(id="silent")])
    shown = {row["id"]: row["exchanges"] for row in choose_samples(tmp_path)}
    assert shown["silent"] == []
    first, second = shown["p"]
    assert (first["text"], first["reply"], first["reward"], first["note"]) == ("low?", "[user] sure?", 0.5, "asked")
    assert (second["text"], second["reward"], len(second["clips"])) == ("<seg>0, 0.3</seg>", None, 1)
    assert write_report(tmp_path).read_text().count("data:audio/ogg") == 1


@pytest.mark.parametrize("exchanges", ["{", '[{"text": "a"}]', "[7]", '[{"messages": [7]}]'])
def test_a_rollout_file_with_damaged_exchanges_is_left_out(tmp_path: Path, exchanges: str, sample) -> None:
    Tracker(tmp_path, "rlvr").record(1, {"reward": 1.0})
    Tracker(tmp_path, "rlvr").record_rollouts(1, [sample()])
    (file,) = (tmp_path / "rollouts").glob("*.parquet")
    table = pq.read_table(file)
    if "exchanges" in table.column_names:
        table = table.drop_columns("exchanges")
    pq.write_table(table.append_column("exchanges", pa.array([exchanges])), file)
    errors: list[ValueError] = []
    assert choose_samples(tmp_path, errors.append) == []
    assert [str(error) for error in errors] == [f"{file}: exchanges that no run has written; delete the file"]
