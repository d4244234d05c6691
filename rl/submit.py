"""`rl submit`: a recipe as a job on a running Ray cluster, with the files it needs in the job's working directory.

Packed are the recipe (resolved, so the recipes that it extends are not needed), the Python files that it names and the
modules beside them that these import, and small data files with a relative path. Everything else is expected to be on
the cluster.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omegaconf import OmegaConf

from rl.config import ConfigError, Values
from rl.data.sources import FILES
from rl.planning.machine import PACKAGES
from rl.recipe import Recipe
from rl.redaction import keep_interpolations, variables_in
from rl.stages.registry import STAGES

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

RECIPE = "recipe.yaml"
AGENT_TIMEOUT_S = 60
MAX_FILE_BYTES = 16 << 20
"""Largest data file that is packed; Ray's own limit for the whole working directory is 500 MiB."""
CHATTY_LOGGERS = (
    *("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging"),
)
"""Loggers of Ray that report every upload."""


def submit(recipe: Recipe, address: str, out: str | None, resume: bool, say: Callable[[str], None]) -> tuple[str, str]:
    """Hand `recipe` to the cluster whose dashboard is at `address`; return (job id, run directory on the cluster).

    A cluster with token authentication needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN in the environment. Raises
    ConfigError if the cluster cannot be reached or refuses.
    """
    job = f"{recipe.name}-{secrets.token_hex(3)}"
    out = out or f"$HOME/runs/{job}"
    entrypoint = f"rl run {RECIPE} --out {_quote(out)}{' --resume' if resume else ''}"
    with tempfile.TemporaryDirectory(prefix="groundtone-") as folder, _explain_ray_errors(address):
        for warning in pack(recipe, Path(folder)):
            say(f"warning: {warning}")
        _retry_until_agent_is_up(
            lambda: _client(address).submit_job(
                entrypoint=entrypoint, submission_id=job, runtime_env={"working_dir": folder}
            )
        )
    return job, out


def follow(address: str, job: str, write: Callable[[str], None]) -> bool:
    """Write the job's output as it comes until the job ends; return whether it succeeded. Raises ConfigError."""
    with _explain_ray_errors(address):
        client = _client(address)

        async def tail() -> None:
            async for text in client.tail_job_logs(job):
                write(text)

        asyncio.run(tail())
        while not (status := client.get_job_status(job)).is_terminal():  # the log may end before the status changes
            time.sleep(1.0)
        return status == "SUCCEEDED"


def pack(recipe: Recipe, folder: Path) -> list[str]:
    """Write the job's working directory to `folder`; return a warning for each file that the cluster may lack.

    Raises ConfigError if a Python file that the recipe names does not exist.
    """
    values = cast("Values", OmegaConf.to_container(OmegaConf.create(keep_interpolations(recipe.source))))
    values.get("cluster", {}).pop("address", None)  # the job already runs on that cluster
    stages = list(_stages(values["stages"], "stages"))
    warnings = _pack_rewards(recipe, values["reward"], stages, folder)
    warnings += _pack_stage_code(recipe, stages, folder)
    warnings += _pack_data(recipe, values.get("data") or {}, folder)
    paths = {"model.path": values["model"].get("path")}
    paths |= {f"judges.{name}.model": judge["model"] for name, judge in (values.get("judges") or {}).items()}
    for place, config in stages:
        keys = {key for kind in STAGES.values() for key in kind.references}
        paths |= {f"{place}.{key}": config.get(key) for key in keys}
        reuse = config.get("reuse")
        if reuse and _is_relative(reuse):  # also where no such file exists yet: the stage writes it
            warnings.append(_not_sent(f"{place}.reuse", reuse))
    warnings += [_not_sent(place, path) for place, path in paths.items() if path and _is_relative_file(path)]
    OmegaConf.save(OmegaConf.create(values), folder / RECIPE)
    # Sent along, a secret would stand in the cluster's logs and in its object store.
    names = variables_in((folder / RECIPE).read_text())
    warnings += [f"{name}: is not sent along; the job reads it from its own environment" for name in names]
    return warnings


def _pack_rewards(recipe: Recipe, reward: Values, stages: list[tuple[str, Values]], folder: Path) -> list[str]:
    """Pack the verifiers of the recipe's reward and of its stages' own rewards; return warnings."""
    rewards = [("reward", reward)]
    rewards += [(f"{place}.reward", config["reward"]) for place, config in stages if config.get("reward")]
    warnings: list[str] = []
    for place, stage_reward in rewards:
        for key in ("parts", "watch"):
            for i, part in enumerate(stage_reward.get(key) or ()):
                warnings += _pack_verifier(recipe, part, f"{place}.{key}[{i}]", folder)
    return warnings


def _pack_stage_code(recipe: Recipe, stages: list[tuple[str, Values]], folder: Path) -> list[str]:
    """Pack the verifiers of `select_by` and the functions of objectives; return warnings."""
    warnings: list[str] = []
    for place, config in stages:
        if select_by := config.get("select_by"):
            warnings += _pack_verifier(recipe, select_by, f"{place}.select_by", folder)
        objective = config.get("objective") or {}
        for key in ("advantage", "policy_loss"):
            _pack_code(objective.get(key, ""), f"{place}.objective.{key}", _import_folders(), folder)
    return warnings


def _pack_data(recipe: Recipe, data: dict[str, Values], folder: Path) -> list[str]:
    """Pack the code of data sources and small data files; return warnings."""
    warnings: list[str] = []
    for name, config in data.items():
        config["source"] = _pack_code(config["source"], f"data.{name}.source", [Path.cwd()], folder)
        if config["source"] in FILES:
            # A path is relative to the recipe if there is such a file, else to the working directory.
            base = recipe.folder if name in recipe.paths_beside else Path.cwd()
            config["path"] = recipe.paths_beside.get(name, config.get("path"))
            warnings += _pack_file(str(config["path"]), f"data.{name}.path", config["source"], base, folder)
        else:
            warnings += _warn_of_arguments(config, f"data.{name}.args")
    return warnings


def _pack_verifier(recipe: Recipe, part: Values, place: str, folder: Path) -> list[str]:
    part["verifier"] = _pack_code(part["verifier"], f"{place}.verifier", [recipe.folder, Path.cwd()], folder)
    return _warn_of_arguments(part, f"{place}.args")


def _stages(entries: list[Values], place: str) -> Iterator[tuple[str, Values]]:
    """Yield (place, config) of each stage, also of those in repeated blocks."""
    for i, entry in enumerate(entries):
        for kind, config in entry.items():
            here = f"{place}[{i}].{kind}"
            if kind == "repeat":
                yield from _stages(config["stages"], f"{here}.stages")
            else:
                yield here, config


def _pack_code(spec: str, place: str, bases: list[Path], folder: Path) -> str:
    """Pack the Python behind `file.py:fn`, or `pkg.mod:fn` if it lies in a base; return the spec to use in the job."""
    where, colon, function = spec.rpartition(":")
    if not colon:  # the name of one of ours
        return spec
    if not where.endswith(".py"):
        for base in bases:
            _pack_modules([where.partition(".")[0]], base, folder)
        return spec
    file = next((base / where for base in bases if (base / where).is_file()), None)
    if file is None:
        raise ConfigError(f"{place}: no file {where} in {' or '.join(map(str, bases))}")
    _pack_module(file, folder)
    return f"{file.name}:{function}"


def _pack_module(file: Path, folder: Path) -> None:
    """Copy a module, and the modules beside it that it imports. Raises ConfigError for two files of the same name."""
    target = folder / file.name
    if target.exists():
        if target.read_bytes() != file.read_bytes():
            raise ConfigError(f"{file}: another {file.name} is sent along already; rename one of them")
        return
    shutil.copy(file, target)
    _pack_modules(_imports(file), file.parent, folder)


def _pack_modules(names: Iterable[str], base: Path, folder: Path) -> None:
    for name in names:
        if name in PACKAGES:  # ours are installed on the cluster
            continue
        if (base / f"{name}.py").is_file():
            _pack_module(base / f"{name}.py", folder)
        elif (base / name / "__init__.py").is_file() and not (folder / name).exists():
            shutil.copytree(base / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))


def _imports(file: Path) -> Iterator[str]:
    """Yield the top-level names of the modules that a file imports. Raises ConfigError for invalid Python."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise ConfigError(f"{file}, line {error.lineno}: {error.msg}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _pack_file(path: str, place: str, source: str, base: Path, folder: Path) -> list[str]:
    """Copy a small data file from `base` to the same relative path; return a warning if it is not sent."""
    file = base / path
    if not (_is_relative(path) and file.exists()):
        return []
    is_inside = file.resolve().is_relative_to(base.resolve())  # `../words.jsonl` has no place in the job's folder
    if source == "huggingface" or not (is_inside and file.is_file() and file.stat().st_size <= MAX_FILE_BYTES):
        return [_not_sent(place, path)]
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / path)
    return []


def _warn_of_arguments(config: Values, place: str) -> list[str]:
    """Return a warning for each relative path among the `args` of a data source or a verifier."""
    args: Values = {**(config.get("args") or {})}
    if config.get("verifier") == "judge":
        args.pop("served", None)  # the name of a judge in the recipe, though a folder may have it too
    values: list[object] = []
    for value in args.values():
        values += value if isinstance(value, list) else [value]
    return [_not_sent(place, text) for text in values if isinstance(text, str) and _is_relative_file(text)]


def _import_folders() -> list[Path]:
    """Return the folders that the user's own modules are imported from: those of PYTHONPATH, and the current one."""
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return list(dict.fromkeys(Path(entry).resolve() for entry in (*entries, ".")))


def _is_relative(path: str) -> bool:
    return not path.startswith(("/", "~", "$"))


def _is_relative_file(path: str) -> bool:
    return _is_relative(path) and Path(path).exists()


def _not_sent(place: str, path: str) -> str:
    return f"{place}: '{path}' is relative and is not sent along; name a path that the cluster's machines share"


def _quote(path: str) -> str:
    """Return the path quoted for the job's shell, with a leading $HOME left to that shell."""
    return f'"$HOME"/{shlex.quote(path[6:])}' if path.startswith("$HOME/") else shlex.quote(path)


def _client(address: str) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    for name in CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return JobSubmissionClient(address)


def _retry_until_agent_is_up(send: Callable[[], object]) -> None:
    """Call `send`; again each second while a head that has just started has no agent yet, for up to a minute."""
    deadline = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            send()
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1.0)


@contextmanager
def _explain_ray_errors(address: str) -> Iterator[None]:
    """Raise ConfigError, in one line, for what Ray's client raises if a cluster is away or refuses."""
    from aiohttp import ClientError
    from ray.exceptions import AuthenticationError
    from requests import RequestException

    try:
        yield
    except AuthenticationError as error:
        raise ConfigError(
            f"--address {address}: the cluster needs a valid token ({str(error.message).splitlines()[0]}); set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the values of its head"
        ) from error
    except (ConnectionError, RequestException, ClientError) as error:
        raise ConfigError(
            f"--address {address}: no Ray dashboard answers there; give the one of the cluster's head, http://HEAD:8265"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"--address {address}: {str(error).splitlines()[0]}") from error
