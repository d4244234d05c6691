"""A recipe as a job on a running Ray cluster: what it needs is packed into the job's working directory.

Packed are the recipe (resolved: nothing it extends is needed any more), the Python files that it names and the modules
beside them that these import, and small data files with a relative path. Everything else is expected on the cluster.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import os
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rl.config import ConfigError
from rl.data.sources import FILES
from rl.planning.machine import PACKAGES
from rl.recipe import Recipe
from rl.stages.registry import STAGES

RECIPE = "recipe.yaml"
AGENT_TIMEOUT_S = 60
SENT_BYTES = 16 << 20
"""Data files with a relative path are sent along up to this size; Ray's own limit for all files is 500 MiB."""

CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
"""Loggers of Ray that tell every upload."""


def submit(recipe: Recipe, address: str, out: str | None, resume: bool, say: Callable[[str], None]) -> tuple[str, str]:
    """Hands `recipe` to the cluster whose dashboard is at `address`; returns (job id, where the run will lie there).
    A cluster with token authentication wants RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here. Raises ConfigError when the
    cluster cannot be reached or refuses."""
    job = f"{recipe.name}-{secrets.token_hex(3)}"
    out = out or f"$HOME/runs/{job}"
    entrypoint = f"rl run {RECIPE} --out {_in_shell(out)}{' --resume' if resume else ''}"
    with tempfile.TemporaryDirectory(prefix="groundtone-") as folder, _refusals(address):
        for warning in pack(recipe, Path(folder)):
            say(f"warning: {warning}")
        _patiently(
            lambda: _client(address).submit_job(
                entrypoint=entrypoint, submission_id=job, runtime_env={"working_dir": folder}
            )
        )
    return job, out


def follow(address: str, job: str, write: Callable[[str], None]) -> bool:
    """Writes the job's output as it comes until the job ends; whether it succeeded. Raises ConfigError."""
    with _refusals(address):
        client = _client(address)

        async def tail() -> None:
            async for text in client.tail_job_logs(job):
                write(text)

        asyncio.run(tail())
        while not (status := client.get_job_status(job)).is_terminal():
            time.sleep(1.0)
        return status == "SUCCEEDED"


def pack(recipe: Recipe, folder: Path) -> list[str]:
    """Writes the job's working directory to `folder`; returns what may be missing on the cluster, one line each.
    Raises ConfigError when a file that the recipe names is not here."""
    values: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(recipe.source))  # type: ignore[assignment]
    warnings: list[str] = []
    values.get("cluster", {}).pop("address", None)  # the job is on that cluster already
    stages = list(_stages(values["stages"], "stages"))
    own = [(f"{place}.reward", config["reward"]) for place, config in stages if config.get("reward")]
    for place, reward in (("reward", values["reward"]), *own):
        for i, part in enumerate(reward["parts"]):
            where = f"{place}.parts[{i}]"
            part["verifier"] = _code(part["verifier"], f"{where}.verifier", [recipe.folder, Path.cwd()], folder)
            warnings += _left_behind(part, f"{where}.args")
    for place, config in stages:
        if by := config.get("select_by"):
            where = f"{place}.select_by"
            by["verifier"] = _code(by["verifier"], f"{where}.verifier", [recipe.folder, Path.cwd()], folder)
            warnings += _left_behind(by, f"{where}.args")
        goal = config.get("objective") or {}
        for key in ("advantage", "policy_loss"):
            _code(goal.get(key, ""), f"{place}.objective.{key}", _importable(), folder)
    for name, data in (values.get("data") or {}).items():
        data["source"] = _code(data["source"], f"data.{name}.source", [Path.cwd()], folder)
        if data["source"] in FILES:
            base = recipe.folder if name in recipe.found else Path.cwd()
            data["path"] = recipe.found.get(name, data.get("path"))
            warnings += _file(str(data["path"]), f"data.{name}.path", data["source"], base, folder)
        else:
            warnings += _left_behind(data, f"data.{name}.args")
    places = {"model.path": values["model"].get("path")}
    places |= {f"judges.{name}.model": judge["model"] for name, judge in (values.get("judges") or {}).items()}
    for place, config in stages:
        keys = {key for kind in STAGES.values() for key in kind.references}
        places |= {f"{place}.{key}": config.get(key) for key in keys}
        if (reuse := config.get("reuse")) and _is_relative(reuse):  # there or not: it is written, too
            warnings.append(_stays(f"{place}.reuse", reuse))
    warnings += [_stays(place, path) for place, path in places.items() if path and _is_relative_file(path)]
    OmegaConf.save(OmegaConf.create(values), folder / RECIPE)
    return warnings


def _stages(entries: list[dict[str, Any]], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, config) of each stage, those of repeated blocks too."""
    for i, entry in enumerate(entries):
        for kind, config in entry.items():
            here = f"{place}[{i}].{kind}"
            yield from _stages(config["stages"], f"{here}.stages") if kind == "repeat" else [(here, config)]


def _code(spec: str, place: str, bases: list[Path], folder: Path) -> str:
    """Packs the Python behind `file.py:fn` (or `pkg.mod:fn`, when it lies here); the spec to use in the job."""
    where, colon, function = spec.rpartition(":")
    if not colon:
        return spec
    if not where.endswith(".py"):
        for base in bases:
            _modules([where.partition(".")[0]], base, folder)
        return spec
    file = next((base / where for base in bases if (base / where).is_file()), None)
    if file is None:
        raise ConfigError(f"{place}: no file {where} in {' or '.join(map(str, bases))}")
    _module(file, folder)
    return f"{file.name}:{function}"


def _module(file: Path, folder: Path) -> None:
    """Copies a module and what it imports from beside itself. Two files of one name cannot lie side by side."""
    target = folder / file.name
    if target.exists():
        if target.read_bytes() != file.read_bytes():
            raise ConfigError(f"{file}: another {file.name} is sent along already; rename one of them")
        return
    shutil.copy(file, target)
    _modules(_imports(file), file.parent, folder)


def _modules(names: Iterator[str] | list[str], base: Path, folder: Path) -> None:
    for name in names:
        if name in PACKAGES:
            continue
        if (base / f"{name}.py").is_file():
            _module(base / f"{name}.py", folder)
        elif (base / name / "__init__.py").is_file() and not (folder / name).exists():
            shutil.copytree(base / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def _imports(file: Path) -> Iterator[str]:
    """First parts of the names of the modules that a file imports. Raises ConfigError for a file that is no Python."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise ConfigError(f"{file}, line {error.lineno}: {error.msg}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _file(path: str, place: str, kind: str, base: Path, folder: Path) -> list[str]:
    """Packs a small data file, which lies in `base`, under the same relative path."""
    file = base / path
    if not (_is_relative(path) and file.exists()):
        return []
    inside = file.resolve().is_relative_to(base.resolve())
    if kind == "huggingface" or not (inside and file.is_file() and file.stat().st_size <= SENT_BYTES):
        return [_stays(place, path)]
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / path)
    return []


def _left_behind(named: dict[str, Any], place: str) -> list[str]:
    """Warnings for the paths among the `args` of a source or a part; a judge's `served` is a name of the recipe's."""
    args = {**(named.get("args") or {})}
    if named.get("verifier") == "judge":
        args.pop("served", None)
    texts = [text for value in args.values() for text in _texts(value)]
    return [_stays(place, text) for text in texts if _is_relative_file(text)]


def _importable() -> list[Path]:
    """Where the user's own modules are imported from: the folders that they have put on Python's path."""
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys(Path(entry).resolve() for entry in (*own, ".")))


def _is_relative(path: str) -> bool:
    return not path.startswith(("/", "~", "$"))


def _is_relative_file(path: str) -> bool:
    return _is_relative(path) and Path(path).exists()


def _stays(place: str, path: str) -> str:
    return f"{place}: '{path}' is relative and is not sent along; name a path that the cluster's machines share"


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def _in_shell(path: str) -> str:
    """Quoted for the job's shell, which may fill in its own $HOME."""
    return f'"$HOME"/{shlex.quote(path[6:])}' if path.startswith("$HOME/") else shlex.quote(path)


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    return JobSubmissionClient(address)


def _patiently(send: Callable[[], Any]) -> None:
    """A head that has just started says for a while that it has no agent yet."""
    until = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            return send()
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(1.0)


@contextmanager
def _refusals(address: str) -> Iterator[None]:
    """What Ray's client says of a cluster that is away or refuses, in one line."""
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from requests import RequestException

    try:
        yield
    except AuthenticationError as error:
        raise ConfigError(
            f"--address {address}: the cluster wants a token that fits ({str(error.message).splitlines()[0]}); set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its head"
        ) from error
    except (ConnectionError, RequestException, ClientError) as error:
        raise ConfigError(
            f"--address {address}: no Ray dashboard answers there; give that of the cluster's head, http://HEAD:8265"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"--address {address}: {str(error).splitlines()[0]}") from error
