"""Secrets stand in no file of a run and in no output, whatever key they stand under."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_dirs import prepare_run_dir

from rl import redaction
from rl.config import ConfigError
from rl.recipe import load
from rl.redaction import HIDDEN, redact, redact_text
from rl.run.provenance import write_provenance
from rl.run.tracker import Tracker
from rl.submit.pack import pack
from rl.terminal import complain, console, print_json, say

ROOT = Path(__file__).parents[1]
BASE: dict[str, Any] = {
    "name": "tiny",
    "model": {"build": {"hidden_size": 64, "heads": 2, "layers": 1}},
    "data": {"words": {"source": "reasoning_gym", "args": {"dataset": "spell_backward"}}},
    "reward": {"parts": [{"verifier": "judge", "args": {"endpoint": "http://127.0.0.1:9/v1", "model": "m"}}]},
    "stages": [{"rlvr": {"data": "words"}}],
}
PLACES: dict[str, Callable[[Any, str], object]] = {
    "an argument": lambda recipe, value: recipe["data"]["words"]["args"].update(config={"harmless": value}),
    "a header": lambda recipe, value: recipe["reward"]["parts"][0]["args"].update(
        options={"extra_headers": {"Authorization": f"Bearer {value}", "x-tenant": value}}
    ),
    "an engine's option": lambda recipe, value: recipe.update(engines={"vllm": {"anything": [{"deep": value}]}}),
    "a judge's model": lambda recipe, value: recipe["reward"]["parts"][0]["args"].update(model=value),
    "an address": lambda recipe, value: recipe["reward"]["parts"][0]["args"].update(
        endpoint=f"http://127.0.0.1:9/v1?tenant={value}"
    ),
    "a rubric": lambda recipe, value: recipe["reward"]["parts"][0]["args"].update(rubric={"good": f"like {value}!"}),
    "a stage": lambda recipe, value: recipe["stages"].append({"evaluate": {"data": "words", "model": value}}),
    "an unknown key": lambda recipe, value: recipe["stages"][0]["rlvr"].update(nonsense=value),
    "a value of another type": lambda recipe, value: recipe["stages"][0]["rlvr"].update(steps=value),
}
SECRETS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), min_size=8, max_size=30
).filter(lambda text: text == text.strip() and "${" not in text and len(set(text)) > 5)


@pytest.fixture(autouse=True)
def nothing_to_hide() -> Iterator[None]:
    """Forget the secrets of a test, which would be hidden in the next one too."""
    yield
    secrets = redaction._Secrets
    secrets.substitutes, secrets.spellings, secrets.pattern = {}, {}, None


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=SECRETS)
def test_a_value_of_the_environment_is_written_nowhere(
    place: str, secret: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path_factory.mktemp("run") / "run"
    os.environ["SOME_VARIABLE"] = secret
    source = json.loads(json.dumps(BASE))
    PLACES[place](source, "${oc.env:SOME_VARIABLE}")
    try:
        recipe = load(source)
    except ConfigError as error:
        complain(f"error: {error}")
        _assert_absent(secret, capsys.readouterr().err)
        return
    prepare_run_dir(recipe, out, resume=False)
    write_provenance(out / "model", {"settings": recipe.source, "note": f"read {secret}"})
    Tracker(out, "rlvr").record_warning(1, f"the judge says {secret}, {secret!r} and {json.dumps(secret)}")
    pack(recipe, out)
    say(f"stage of {secret}")
    console().print(secret)
    print_json(recipe.source)
    for text in (*(file.read_text() for file in out.iterdir()), capsys.readouterr().out):
        _assert_absent(secret, text)
    assert load(out / "recipe.yaml").source == recipe.source, "what stands there is read again from the environment"
    prepare_run_dir(recipe, out, resume=True)
    os.environ["SOME_VARIABLE"] = "another-secret-1234"
    prepare_run_dir(load(source), out, resume=True)


def _assert_absent(secret: str, text: str) -> None:
    assert secret not in text
    assert json.dumps(secret)[1:-1] not in text
    assert repr(secret)[1:-1] not in text


def test_a_short_value_and_a_path_are_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "7")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    source = json.loads(json.dumps(BASE))
    source["stages"][0]["rlvr"].update(steps="${oc.decode:${oc.env:STEPS}}", limit=70)
    source["data"]["words"]["args"]["config"] = {"path": "${oc.env:FOLDER}/x"}
    prepare_run_dir(load(source), tmp_path / "run", resume=False)
    saved = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert saved["stages"][0]["rlvr"]["steps"] == 7
    assert saved["data"]["words"]["args"]["config"]["path"] == f"{tmp_path}/x"


def test_names_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "somebody-else")
    recipe = load({**BASE, "name": "run-${oc.env:WHO}"})
    prepare_run_dir(recipe, tmp_path / "run", resume=False)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["name"] == "run-somebody-else"


def test_a_secret_of_the_recipe_itself_is_hidden_in_errors(capsys: pytest.CaptureFixture[str]) -> None:
    source = json.loads(json.dumps(BASE))
    source["reward"]["parts"][0]["args"]["options"] = {"extra_headers": {"Authorization": "hunter2hunter2"}}
    load(source)
    complain("error: the judge answered 401: wrong key hunter2hunter2")
    assert capsys.readouterr().err == f"error: the judge answered 401: wrong key {HIDDEN}\n"


def test_the_command_shows_none(tmp_path: Path) -> None:
    secret = "correct-horse-battery-42"
    source = json.loads(json.dumps(BASE))
    source["model"] = {"path": "${oc.env:SOME_VARIABLE}"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(source))
    for arguments in (["mine.yaml"], ["mine.yaml", "--json"], ["mine.yaml", "--debug"], ["mine.yaml", "seed=x"]):
        command = [sys.executable, "-m", "rl.cli", "check", *arguments]
        env = {**os.environ, "SOME_VARIABLE": secret, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
        assert secret not in done.stdout + done.stderr, arguments
        assert done.returncode in (0, 2), done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc123def456", f"Authorization: Bearer {HIDDEN}"),
        ("{'authorization': 'bearer eyJ0.e30.x1y2'}", f"{{'authorization': 'bearer {HIDDEN}'}}"),
        ("Authorization: Basic dXNlcjpwYXNzMQ==", f"Authorization: Basic {HIDDEN}"),
        ("https://user:pa55@host/x", f"https://{HIDDEN}@host/x"),
        ("git+https://ghp_token@github.com/a/b", f"git+https://{HIDDEN}@github.com/a/b"),
        ("postgres://u:p%40ss@db:5432/x", f"postgres://{HIDDEN}@db:5432/x"),
        ("GET http://h/v1?model=m&api_key=abc&x=1", f"GET http://h/v1?model=m&api_key={HIDDEN}&x=1"),
        ("http://h/v1?access_token=a.b-c", f"http://h/v1?access_token={HIDDEN}"),
        ("https://s3/x?X-Amz-Signature=0af1&b=2", f"https://s3/x?X-Amz-Signature={HIDDEN}&b=2"),
        ("wrong key sk-proj-0123456789abcdef", f"wrong key {HIDDEN}"),
        ("hf_abcdefghijklmnopqrst", HIDDEN),
        ("the bearer of news, a basic idea of arithmetic", "the bearer of news, a basic idea of arithmetic"),
        ("mail me@example.org, see http://h/?page=2&sort=key", "mail me@example.org, see http://h/?page=2&sort=key"),
        ("the next token is <|im_end|>; sk-learn", "the next token is <|im_end|>; sk-learn"),
    ],
)
def test_what_has_the_form_of_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    "key", ["Authorization", "proxy-authorization", "x-api-key", "Cookie", "account_key", "hfToken"]
)
def test_keys_that_name_a_secret(key: str) -> None:
    assert redact({key: "abc", "api_key_env": "JUDGE_KEY"}) == {key: HIDDEN, "api_key_env": "JUDGE_KEY"}


def test_secrets_are_hidden_and_the_vocabulary_is_not() -> None:
    recipe = {
        "name": "x",
        "max_sequence_tokens": 10240,
        "tokenizer": "path",
        "normalise": {"by": "token"},
        "eos_token": "<|im_end|>",
        "stop_token": "</s>",
        "token": "hf_abc",
        "token_id": 5,
        "hub": [{"authToken": "abc", "HF_TOKEN": "hf_x", "use_auth_token": True}],
        "env": {"WANDB_API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "db_password": 1234, "ssh-private-key": ""},
        "credentials": {"user": "u", "codes": ["a", None]},
    }
    assert redact(recipe) == {
        "name": "x",
        "max_sequence_tokens": 10240,
        "tokenizer": "path",
        "normalise": {"by": "token"},
        "eos_token": "<|im_end|>",
        "stop_token": "</s>",
        "token": HIDDEN,
        "token_id": 5,
        "hub": [{"authToken": HIDDEN, "HF_TOKEN": HIDDEN, "use_auth_token": True}],
        "env": {"WANDB_API_KEY": HIDDEN, "AWS_SECRET_ACCESS_KEY": HIDDEN, "db_password": HIDDEN, "ssh-private-key": ""},
        "credentials": {"user": HIDDEN, "codes": [HIDDEN, None]},
    }
    assert recipe["token"] == "hf_abc"


def test_what_an_interpolation_names_is_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file itself; the saved recipe keeps the variable, which the job's own environment must have."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCORER", "my_rewards.py:score")
    Path("my_rewards.py").write_text("def score(prompt, rollout): ...\n")
    source = {**BASE, "reward": {"parts": [{"verifier": "${oc.env:SCORER}"}]}}
    (tmp_path / "parcel").mkdir()
    notes = pack(load(source), tmp_path / "parcel")
    assert (tmp_path / "parcel" / "my_rewards.py").is_file()
    assert any(note.startswith("SCORER: is not sent along") for note in notes)


def test_a_part_of_every_path_is_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swimmer").mkdir()
    monkeypatch.chdir(tmp_path / "swimmer")
    redaction.remember("swimmer", "${oc.env:USER}")
    assert redact_text("go on with: rl run --out /home/swimmer/runs/x").endswith("/home/swimmer/runs/x")
