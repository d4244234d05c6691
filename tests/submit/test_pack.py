"""Data that travel with a job: files that a verifier's module names, arguments, clips; and a line about what stays behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rl.recipe import load
from rl.submit.pack import pack

RECIPE = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "layers": 1, "heads": 2}},
    "data": {"words": {"source": "jsonl", "path": "words.jsonl", "fields": {"question": "question"}}},
    "reward": {"parts": [{"verifier": "mine.py:verify"}]},
    "stages": [{"evaluate": {"data": "words", "split": None}}],
}
VERIFY = "\ndef verify(prompt, rollout, *, file='', files=()): ...\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with the recipe and the verifier in folders of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes" / "code").mkdir(parents=True)
    (tmp_path / "words.jsonl").write_text('{"question": "q"}\n')
    return tmp_path


def write(files: dict[str, str], base: Path) -> None:
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)


def packed(project: Path, source: str = "", **changes: object) -> tuple[set[str], list[str]]:
    """(files of the job beside recipe, module and data; the lines about the rest)."""
    (project / "recipes" / "code" / "mine.py").write_text(source + VERIFY)
    part = {"verifier": "code/mine.py:verify", **changes.pop("part", {})}  # type: ignore[dict-item]
    values = {**RECIPE, "reward": {"parts": [part]}, **changes}
    OmegaConf.save(OmegaConf.create(values), project / "recipes" / "tiny.yaml")
    job = project / "job"
    job.mkdir()
    lines = pack(load(project / "recipes" / "tiny.yaml"), job)
    files = {str(file.relative_to(job)) for file in job.rglob("*") if file.is_file()}
    return files - {"recipe.yaml", "mine.py", "words.jsonl"}, lines


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from pathlib import Path\nW = (Path(__file__).parent / 'list.txt').read_text()", {"list.txt"}),
        ("import os\nW = open(os.path.join(os.path.dirname(__file__), 'data', 'inner.txt'))", {"data/inner.txt"}),
        ("from pathlib import Path\nHERE = Path(__file__).parent\nD = HERE / 'data'\nf = D / 'inner.txt'", {"data/inner.txt"}),
        ("from pathlib import Path\nW = Path(__file__).with_name('list.txt')", {"list.txt"}),
        ("from pathlib import Path\nW = Path(__file__).with_suffix('.json')", {"mine.json"}),
        ("from pathlib import Path\nHERE = Path(__file__).parent\ndef f(n): return HERE / f'list_{n}.txt'", {"list_de.txt", "list_fr.txt"}),
        ("HERE = __file__\ndef f(n): return open(HERE[:-7] + 'list_%s.txt' % n)", {"list_de.txt", "list_fr.txt"}),
        ("def f(n): return open(__file__ + '/../list_{}.txt'.format(n))", set()),
        ("import pkgutil\nW = pkgutil.get_data(__name__, 'data/inner.txt')", {"data/inner.txt"}),
        ("from pathlib import Path\nW = Path(__file__).parent.joinpath('data', 'inner.txt')", {"data/inner.txt"}),
        ("from pathlib import Path\nW = [p for p in (Path(__file__).parent / 'data').iterdir()]", {"data/inner.txt", "data/more.txt"}),
        ("from pathlib import Path\nW = Path(__file__).parent.glob('data/*.txt')", {"data/inner.txt", "data/more.txt"}),
        ("W = open(__file__.replace('mine.py', 'wörter und mehr.txt'))", {"wörter und mehr.txt"}),
        ("import helper", {"helper.py", "list.txt"}),
        ("def f(path='cwd.txt'): return open(path)", {"cwd.txt"}),
        ("import family.inner", {"family/__init__.py", "family/inner.py", "family/list.txt", "cwd.txt"}),
        ("W = {'data': 1, 'words': 2}['data']", set()),  # a word that a folder happens to have
    ],
)  # fmt: skip
def test_files_that_a_verifiers_module_names_are_packed(project: Path, source: str, names: set[str]) -> None:
    beside = ("list.txt", "data/inner.txt", "data/more.txt", "mine.json", "list_de.txt", "list_fr.txt")
    write(dict.fromkeys([*beside, "wörter und mehr.txt", "unnamed.txt"], "x"), project / "recipes" / "code")
    write({"helper.py": "open(__file__[:-9] + 'list.txt')"}, project / "recipes" / "code")
    write({"family/__init__.py": "", "family/inner.py": "W = open('cwd.txt')"}, project / "recipes" / "code")
    write({"family/list.txt": "x"}, project / "recipes" / "code")
    write({"cwd.txt": "x"}, project)
    files, lines = packed(project, source)
    assert files == names
    has_nothing = "/../" in source
    assert len(lines) == has_nothing, lines


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("from pathlib import Path\nW = Path(__file__).parent.parent / 'above.txt'", "looks for files beside itself"),
        ("W = open(__file__.replace('.py', '.' + 'txt'))", "looks for files beside itself"),
        ("W = open('../outside.txt')", "'../outside.txt' is relative, lies outside of the folder that is sent"),
        ("W = open('large.bin')", "'large.bin' is relative, larger than 16 MiB"),
        (
            "W = open('ABSOLUTE')",
            "the cluster's machines must have them: reward.parts[0].verifier: mine.py names it '/",
        ),
    ],
)
def test_a_file_that_stays_behind_is_named_in_one_line(project: Path, source: str, says: str) -> None:
    write({"above.txt": "x", "outside.txt": "x", "code/large.bin": ""}, project / "recipes")
    os.truncate(project / "recipes" / "code" / "large.bin", (16 << 20) + 1)
    files, lines = packed(project, source.replace("ABSOLUTE", str(project / "recipes" / "above.txt")))
    assert files == set()
    assert len(lines) == 1
    assert says in lines[0]
    assert "\n" not in lines[0]


def test_files_among_the_arguments_are_packed(project: Path) -> None:
    write({"lists/a.txt": "a", "lists/b.txt": "b", "folder/c.txt": "c"}, project)
    args = {"file": "lists/a.txt", "files": ["lists/b.txt", "folder", "no such file", "", "."]}
    files, lines = packed(project, part={"args": args})
    assert files == {"lists/a.txt", "lists/b.txt", "folder/c.txt"}
    assert lines == []


def test_arguments_that_are_too_long_for_a_name_are_texts(project: Path) -> None:
    rubric = "word " * 60  # 300 characters without a slash: a name has 255 at most
    part = {"args": {"files": {"right": rubric}}}
    environment = {"step": "code/mine.py:verify", "args": {"file": rubric}}
    write({"words.jsonl": json.dumps({"question": f"{rubric}.wav"})}, project)
    files, lines = packed(project, part=part, environment=environment)
    assert files == set()
    assert lines == []


def test_trackers_travel_with_the_files_that_they_name(project: Path) -> None:
    tracker = "from rl.run.sinks.base import Sink\nclass Tracker(Sink): ...\nNAMES = open(__file__[:-8] + 'list.txt')\n"
    write({"code/track.py": tracker, "code/list.txt": "x"}, project / "recipes")
    files, lines = packed(project, track=["tensorboard", "prometheus:9400", "code/track.py:Tracker"])
    assert files == {"track.py", "list.txt"}
    assert lines == []
    track = OmegaConf.load(project / "job" / "recipe.yaml").track
    assert track == ["tensorboard", "prometheus:9400", "track.py:Tracker"]


def test_files_that_data_and_stages_name_are_packed(project: Path) -> None:
    write({"heard/ext.jsonl": '{"id": "1", "external": "7"}\n', "judge.jinja": "x"}, project)
    chain = json.dumps({"prompt": "1", "response": "7"}) + "\n"
    write({"teachers/a.jsonl": chain, "teachers/b.jsonl": chain}, project)
    judge = {"model": "org/judge", "max_sequence_tokens": 64, "max_answer_tokens": 8}
    files, lines = packed(
        project,
        data={"words": {**RECIPE["data"]["words"], "external": "heard/ext.jsonl"}},  # type: ignore[index]
        judges={"critic": {**judge, "vllm": {"chat_template": "judge.jinja"}}},
        stages=[{"distill": {"data": "words", "split": None, "chains": "teachers/*.jsonl"}}],
    )
    assert files == {"heard/ext.jsonl", "teachers/a.jsonl", "teachers/b.jsonl", "judge.jinja"}
    assert lines == []


def test_a_file_of_the_same_name_is_named(project: Path) -> None:
    write({"list.txt": "of the module"}, project / "recipes" / "code")
    write({"list.txt": "of the working directory"}, project)
    files, lines = packed(project, "W = open(__file__[:-7] + 'list.txt')")
    assert files == {"list.txt"}
    assert (project / "job" / "list.txt").read_text() == "of the module"
    assert len(lines) == 1
    assert "another file of that name is sent" in lines[0]


def test_clips_that_rows_name_are_packed(project: Path) -> None:
    names = ["a.wav", "deep/b.FLAC", "c.ogg", "d.mp3", "unnamed.wav"]
    write(dict.fromkeys([f"speech/{name}" for name in names], "x"), project)
    rows: list[dict[str, object]] = [
        {"question": "q", "audio": "a.wav"},
        {"question": "q", "audio": ["deep/b.FLAC", {"path": "c.ogg", "bytes": None}]},
        {"question": "q", "audio": "gone.wav", "turn": {"content": [{"type": "audio", "path": "d.mp3"}]}},
    ]
    write({"speech/rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}, project)
    data = {
        "words": {"source": "jsonl", "path": "speech/rows.jsonl", "fields": {"question": "question", "audio": "audio"}}
    }
    files, lines = packed(project, data=data)
    assert files == {"speech/rows.jsonl", *(f"speech/{name}" for name in names[:-1])}
    assert lines == []


def test_small_folders_of_data_and_files_of_the_engines_are_packed(project: Path) -> None:
    write({"clips/yes/a.wav": "x", "clips/no/b.wav": "x", "template.jinja": "x"}, project)
    data = {"words": {"source": "folder", "path": "clips", "template": "What is heard?"}}
    files, lines = packed(project, data=data, engines={"vllm": {"chat_template": "template.jinja"}})
    assert files == {"clips/yes/a.wav", "clips/no/b.wav", "template.jinja"}
    assert lines == []


def test_absolute_paths_are_named_in_one_line(project: Path) -> None:
    write({"model/config.json": "{}"}, project)
    data = {"words": {**RECIPE["data"]["words"], "path": str(project / "words.jsonl")}}  # type: ignore[index]
    _, lines = packed(project, data=data, model={"path": str(project / "model")})
    assert len(lines) == 1
    assert f"data.words.path '{project}/words.jsonl', model.path '{project}/model'" in lines[0]


@pytest.mark.parametrize("place", ["recipe", "stage", "harness"])
def test_environments_travel_with_their_files(project: Path, place: str) -> None:
    write({"code/game.py": "def step(prompt, rollout, list=''): ...\n", "notes.txt": "a"}, project / "recipes")
    tools = ["calculator", {"tool": "search", "args": {"file": "notes.txt"}}]
    environment: dict[str, object] = {"tools": [*tools, "code/game.py:tool"]} if place == "recipe" else {}
    (project / "recipes" / "code" / "game.py").write_text(
        "def step(prompt, rollout): ...\ndef tool(x: str) -> str: ...\n"
    )
    stage = {"evaluate": {"data": "words", "split": None}}
    if place == "harness":
        write({"code/play.py": "def play(prompt, base_url, api_key): ...\n"}, project / "recipes")
        files, _ = packed(project, environment={"harness": "code/play.py:play"})
        assert files == {"play.py"}
        assert "harness: play.py:play" in (project / "job" / "recipe.yaml").read_text()
        return
    if place == "stage":
        stage["evaluate"]["environment"] = "code/game.py:step"
        files, _ = packed(project, stages=[stage])
        assert files == {"game.py"}
    else:
        files, _ = packed(project, environment=environment)
        assert files == {"game.py", "notes.txt"}
    assert "game.py:" in (project / "job" / "recipe.yaml").read_text()
    assert "code/game.py" not in (project / "job" / "recipe.yaml").read_text()
