"""What of an answer can be shown while it is written, and the turns that go back to the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from rl.conversation.turns import Shown, Turns, split_partial
from rl.types import AUDIO_PATCH

WHOLE = "<think>\nTwo and two.\nSo four.\n</think>\nIt is 4 < 5 and é."


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_pieces_make_up_the_whole(step: int) -> None:
    pieces: list[tuple[str, bool]] = []
    shown = Shown(lambda text, is_chain: pieces.append((text, is_chain)))
    for end in range(0, len(WHOLE), step):
        shown.update(WHOLE[:end])
    shown.update(WHOLE, is_whole=True)
    assert "".join(text for text, is_chain in pieces if is_chain) == "Two and two.\nSo four."
    assert "".join(text for text, is_chain in pieces if not is_chain).strip() == "It is 4 < 5 and é."


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "")),
        ("<thi", ("", "")),
        ("<think>", ("", "")),
        ("<think>\nso", ("so", "")),
        ("<think>\nso</th", ("so", "")),
        ("<think>\nso\n</think>", ("so", "")),
        ("<think>\nso\n</think>\nyes", ("so", "yes")),
        ("yes", ("", "yes")),
        ("a <", ("", "a ")),
        ("caf\ufffd", ("", "caf")),
    ],
)
def test_half_a_tag_is_not_shown(text: str, parts: tuple[str, str]) -> None:
    assert split_partial(text, is_whole=False) == parts


def test_clips_stand_where_they_are_heard(tmp_path: Path) -> None:
    sound = tmp_path / "tone.wav"
    soundfile.write(sound, np.zeros(800, "float32"), 16000)
    turns = Turns("Be brief.")
    turns.hear(str(sound))
    turns.ask("Which way?")
    turns.answer(f"Up{AUDIO_PATCH}.")
    for _ in range(2):
        turns.hear(str(sound))
    turns.ask(f"Is {AUDIO_PATCH} higher than {AUDIO_PATCH}?")
    assert [m.content.count(AUDIO_PATCH) for m in turns.messages] == [0, 1, 0, 2]
    assert len(turns.clips) == 3
    turns.take_back()
    assert (len(turns.clips), turns.messages[-1].role) == (1, "assistant")
    turns.reset()
    assert ([m.role for m in turns.messages], turns.clips) == (["system"], [])


def test_a_file_that_is_no_sound_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"text\.wav: no audio that can be read"):
        Turns().hear(str(tmp_path / "text.wav"))
    with pytest.raises(ValueError, match=r"nowhere\.wav: no such file; name a sound file"):
        Turns().hear("nowhere.wav")
