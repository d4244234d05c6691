"""What the command prints cannot steer a terminal, forge a line, or change the order in which a line is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from rl import terminal
from rl.report.markup import escape, to_json
from rl.report.tables import show
from rl.run.summary import Summary, write_summary
from rl.run.tracker import Tracker

ROOT = Path(__file__).parents[1]
HOSTILE = {
    "a colour": ("\x1b[31mred", r"\x1b[31mred"),
    "a cleared screen": ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
    "a title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "a link": ("\x1b]8;;http://evil\x1b\\here", r"\x1b]8;;http://evil\x1b\here"),
    "a C1 sequence": ("\x9b31m\x9d0;x\x9c", r"\x9b31m\x9d0;x\x9c"),
    "an overwritten line": ("score 0\rscore 1", r"score 0\rscore 1"),
    "backspaces": ("bad\x08\x08\x08good", r"bad\x08\x08\x08good"),
    "NUL, bell and DEL": ("\x00\x07\x7f", r"\x00\x07\x7f"),
    "a bidi override": ("pay \u202egnp.exe", r"pay \u202egnp.exe"),
    "bidi isolates": ("a\u2066b\u2067c\u2069", r"a\u2066b\u2067c\u2069"),
    "line separators": ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
    "half a surrogate pair": ("\ud83d", r"\ud83d"),
    "invisible tags": ("a\U000e0041\U000e007f", r"a\U000e0041\U000e007f"),
    "other alphabets": ("שלום مرحبا 👩‍👩‍👧 café ü", "שלום مرحبا 👩‍👩‍👧 café ü"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_every_way_of_printing_makes_it_visible(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.visible(text) == shown
    terminal.say(text)
    terminal.complain(text)
    terminal.pass_on(f"{text}\n")
    out, err = capsys.readouterr()
    assert out.split("\n") == [shown, shown, ""]
    assert err == f"{shown}\n"
    assert escape(text) == shown.replace("&", "&amp;")
    in_page = json.loads(to_json([text]))[0]  # where ASCII's control characters do nothing
    assert terminal.visible(in_page) == shown
    assert not terminal.UNSAFE.search(to_json([text]))


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_tables_and_json_too(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a", text)
    table.add_row(Text(text), text.replace("[", "("))
    terminal.console().print(table, text.replace("[", "("))
    terminal.print_json({text: text})
    out = capsys.readouterr().out
    assert terminal.UNSAFE.search(out) is None
    assert json.loads(out[out.index("{") :]) == {text: text}, "the same text to a program"


def test_a_text_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say("warning: reason\nerror: all is lost")
    terminal.complain("error: row\nrl: done")
    out, err = capsys.readouterr()
    assert (out.count("\n"), err.count("\n")) == (1, 1)


def test_the_console_keeps_its_own_colours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal.console().print(Text("\x1b[31mred", "bold"))
    assert capsys.readouterr().out == "\x1b[1m\\x1b[31mred\x1b[0m\n"


def test_warnings_of_a_run_are_shown_safely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_summary(tmp_path, Summary("n", "done", 1.0, []))
    Tracker(tmp_path, "rlvr").record_warning(1, "a reason \x1b[2J\nstatus failed")
    terminal.console().print(show(tmp_path))
    out = capsys.readouterr().out
    assert r"warning: a reason \x1b[2J status failed" in out
    assert "\x1b[2J" not in out


@pytest.mark.parametrize("flags", [(), ("--debug",)])
def test_errors_and_tracebacks_are_shown_safely(tmp_path: Path, flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "rl.cli", "check", "evil\x1b[31m\u202e.yaml", *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert r"evil\x1b[31m\u202e.yaml" in done.stderr
    assert terminal.UNSAFE.search(done.stdout + done.stderr) is None
