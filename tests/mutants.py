"""Mutants of a user's files: each is damaged in one way, all of them in a fixed order, so that every run tries the same."""

from __future__ import annotations

import copy
import io
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from rl import cli
from rl.terminal import complain

HERE = "@mutant@"
"""Text that stands where a replacement goes, as a value or a key, until the whole is text."""
LONGEST = 1200
"""Most characters of a message that a user may be shown."""
LONG = "x" * 300
"""Name longer than any file's."""

JSON_VALUES = (
    *("null", "true", "false", "0", "-1", "3", "1.5", "1e400", "NaN", "-Infinity", "9" * 30, "9" * 5000),
    *('""', '" "', '"text"', '"7"', '"७"', r'"\u0000"', r'"\ud800"', r'"a.b[0]\nc"', f'"{LONG}"'),
    *("[]", "[1]", '["a"]', "[null]", "[[]]", "[{}]", "{}", '{"a": 1}', '{"": null}', "[" * 60 + "]" * 60),
)
"""Values of every kind, as JSON."""
YAML_VALUES = (
    *(
        "~",
        "true",
        "0",
        "-1",
        "3",
        "1.5",
        "1e-5",
        "1e400",
        ".nan",
        "-.inf",
        "9" * 30,
        "9" * 5000,
        "0x1F",
        "0b11",
        "1_000",
    ),
    *('""', '" "', "text", '"7"', "७", r'"\0"', r'"\uD800"', r'"a.b[0]\nc"', LONG, "a/../b", "{a: }", "[a, ]"),
    *(
        "[]",
        "[1]",
        "[a]",
        "[~]",
        "[[]]",
        "[{}]",
        "{}",
        "{a: 1}",
        "{1: 2}",
        "{~: 2}",
        "{true: 1}",
        "{1.5: a}",
        "{2020-01-01: 1}",
    ),
    *("{? [a]: 1}", "{? {a: b} : 1}", "{a.b: 1}", '{"a[0]": 1}', r'{"a\nb": 1}', '{"": 1}', "{७: 1}"),
    *(
        "2020-01-01",
        "12:30",
        "010",
        "yes",
        "???",
        "${name}",
        "${nope}",
        "${",
        "${oc.env:NOPE}",
        "${oc.nope:1}",
        "\\${a}",
    ),
    *(
        "!!python/object/apply:os.getcwd []",
        "!!python/name:os.system",
        "!!binary eA==",
        "!!set {a}",
        "!!int a",
        "!own x",
    ),
    *(
        "&a [*a]",
        "&a {b: *a}",
        "*nowhere",
        "{<<: 1}",
        "{<<: {a: 1}}",
        "{<<: [{a: 1}, {b: 2}]}",
        "[" * 40 + "]" * 40,
        "@",
        "a: b: c",
        "{a: 1, a: 2}",
    ),
)
"""Values of every kind, as YAML."""
JSON_KEYS = ('""', '"a.b"', '"a[0]"', r'"a\nb"', r'"\u0000"', f'"{LONG}"', '"७"', '"[bold]"')
YAML_KEYS = (
    *JSON_KEYS,
    "1",
    "~",
    "true",
    "1.5",
    "2020-01-01",
    "? [a]\n",
    "${name}",
    "<<",
    "!!python/name:os.system",
    "*nowhere",
)

TEXTS = {
    "empty": b"",
    "blank": b" \n\n",
    "NUL": b"\0" * 40,
    "no utf-8": b'{"a": "\xff\xfe"}\n',
    "utf-16": '{"a": 1}\n'.encode("utf-16"),
    "mark": b"\xef\xbb\xbf",
    "deep": b"[" * 20_000,
    "deep mapping": b'{"a":' * 20_000,
    "list": b"[1, 2]\n",
    "number": b"7\n",
    "null": b"null\n",
    "text": b'"text"\n',
    "words": b"some words\n",
    "html": b"<!doctype html><html><body>404</body></html>\n",
    "tabs": b"\t\ta:\tb\n",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 9\n",
}
"""Contents that a file may have instead of its own."""

Steps = tuple[str | int, ...]
"""Keys and indices from the root of a value to a place in it."""


@dataclass(frozen=True)
class Mutant:
    """A file with one change."""

    name: str
    """The change, in words."""
    content: bytes | Callable[[Path], object]
    """Its bytes, or a function that makes whatever is to stand at its path."""

    def write(self, file: Path) -> None:
        """Put the mutant in the place of `file`."""
        remove(file)
        if callable(self.content):
            self.content(file)
        else:
            file.write_bytes(self.content)


def places(value: object, steps: Steps = ()) -> Iterator[Steps]:
    """Yield the place of every value, the root's first."""
    yield steps
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from places(inner, (*steps, str(key)))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from places(inner, (*steps, i))


def structured(value: object, values: Sequence[str], keys: Sequence[str]) -> Iterator[Mutant]:
    """Yield `value` as JSON with every place replaced by each of `values` (text in the file's language), every key left out,
    twice there, or replaced by each of `keys`."""
    for steps in places(value):
        place = "".join(f"[{step!r}]" for step in steps)
        for text in values:
            yield Mutant(f"{place} = {text[:60]}", _with(value, steps, HERE).replace(f'"{HERE}"', text).encode())
        if not steps or not isinstance(steps[-1], str):
            continue
        yield Mutant(f"{place} left out", json.dumps(_changed(value, steps, None)).encode())
        for text in keys:
            whole = json.dumps(_changed(value, steps, HERE)).replace(f'"{HERE}"', text)
            yield Mutant(f"{place} is called {text[:60]}", whole.encode())
        twice = json.dumps(_changed(value, steps, HERE, keep=True)).replace(HERE, steps[-1])
        yield Mutant(f"{place} twice", twice.encode())


def _with(value: object, steps: Steps, replacement: object) -> str:
    if not steps:
        return json.dumps(replacement)
    changed = copy.deepcopy(value)
    _parent(changed, steps)[steps[-1]] = replacement
    return json.dumps(changed)


def _changed(value: object, steps: Steps, name: str | None, keep: bool = False) -> object:
    """Return `value` with the last key of `steps` removed or renamed (`keep`: and the old one there too)."""
    changed = copy.deepcopy(value)
    parent = _parent(changed, steps)
    inner = parent[steps[-1]] if keep else parent.pop(steps[-1])
    if name is not None:
        parent[name] = inner
    return changed


def _parent(value: object, steps: Steps) -> dict[str | int, object]:
    for step in steps[:-1]:
        value = value[step]  # type: ignore[index]
    return value  # type: ignore[return-value]


def texts(content: bytes) -> Iterator[Mutant]:
    """Yield the file with a content of another kind, cut short, or with foreign bytes in the middle."""
    yield from (Mutant(name, text) for name, text in TEXTS.items())
    yield Mutant("after a byte order mark", b"\xef\xbb\xbf" + content)
    yield Mutant("as Windows writes lines", content.replace(b"\n", b"\r\n"))
    for part in (1, 4, 9):
        middle = len(content) * part // 10
        yield Mutant(f"cut at {part}/10", content[:middle])
        for damage in (b"\0", b"\xff", b"}", b"]", b'"', b"\n", b"\t", b"\xed\xa0\x80"):
            yield Mutant(f"{damage!r} at {part}/10", content[:middle] + damage + content[middle:])


def binaries(content: bytes, count: int = 40) -> Iterator[Mutant]:
    """Yield the file cut short, filled with zeros, and with single bytes changed at `count` places."""
    yield from (
        Mutant(name, text) for name, text in TEXTS.items() if name in ("empty", "words", "pointer", "NUL", "html")
    )
    for i in range(count):
        at = (len(content) - 1) * i // (count - 1)
        yield Mutant(f"cut at {at}", content[:at])
        for byte in (0, 255, content[at] ^ 1):
            yield Mutant(f"byte {at} = {byte}", content[:at] + bytes([byte]) + content[at + 1 :])
        yield Mutant(f"zeros from {at}", content[:at] + bytes(len(content) - at))


def stand_ins() -> Iterator[Mutant]:
    """Yield what may stand at a file's path that is no file."""
    yield Mutant("missing", lambda file: None)
    yield Mutant("a folder", lambda file: file.mkdir())
    yield Mutant("a link to nowhere", lambda file: file.symlink_to("nowhere"))
    yield Mutant("a link to itself", lambda file: file.symlink_to(file))
    yield Mutant("a pipe", lambda file: os.mkfifo(file))
    if os.geteuid() != 0:  # root reads every file
        yield Mutant("unreadable", lambda file: (file.write_bytes(b"{}"), file.chmod(0)))


def safetensors(header: object) -> bytes:
    """Return the bytes of a safetensors file with this header, and no data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


def remove(path: Path) -> None:
    """Remove whatever stands at `path`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Answer:
    """What a command said to a mutant."""

    case: str
    """Command and mutant."""
    code: int | str
    """Exit code; for an exception its traceback."""
    out: str
    error: str

    @property
    def failure(self) -> str:
        """What no answer to a user may be; empty where all is well."""
        if self.code not in (0, 2):
            return f"exit {self.code}"
        if "Traceback" in self.out + self.error:
            return "a traceback is printed"
        if self.code == 2 and not self.error.startswith("error: "):
            return "it fails without a message"
        if any(not line.startswith("error: ") for line in self.error.splitlines() if self.code == 2):
            return "its message has several lines"
        if any(len(line) > LONGEST for line in self.error.splitlines()):
            return "its message is too long"
        return ""


def ask(case: str, command: Sequence[str] | Callable[[], object]) -> Answer:
    """Return what the command `rl` says, or what a function behind it does: ValueError is exit code 2."""
    # As in a terminal: what cannot be encoded is escaped, see `rl.cli.main`.
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", "\n") for _ in range(2))
    code: int | str = 0
    with redirect_stdout(out), redirect_stderr(error):
        try:
            if callable(command):
                command()
            else:
                code = cli._exit_code([*command], debug=False)
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else str(exit.code)
        except ValueError as problem:
            code = 2
            complain(f"error: {problem}")  # as `rl.cli` does
        except Exception:
            code = traceback.format_exc()
    return Answer(case, code, _content(out), _content(error))


def _content(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.seek(0)
    return stream.read()


def answers(
    file: Path, mutants: Iterable[Mutant], commands: Mapping[str, Sequence[str] | Callable[[], object]]
) -> Iterator[Answer]:
    """Yield what each of `commands` answers while a mutant stands in the place of `file`, which is put back."""
    aside = file.with_name(f"{file.name}.aside")
    if file.exists():
        file.rename(aside)
    try:
        for mutant in mutants:
            mutant.write(file)
            for title, command in commands.items():
                yield ask(f"{title}, {file.name}: {mutant.name}", command)
    finally:
        remove(file)
        if aside.exists():
            aside.rename(file)
