"""The sinks by the names that a recipe's `track` calls them by."""

from __future__ import annotations

import importlib.util
import netrc
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from rl import functions
from rl.config import ConfigError, did_you_mean
from rl.data import user_functions
from rl.data.rows import locate, resolve_in
from rl.redaction import remember
from rl.run.sinks.base import RunFacts, Sink

NAMES = ("tensorboard", "wandb", "mlflow", "prometheus")
KEEPING = ("wandb", "mlflow")
"""Sinks of services that cannot forget: they keep what they were sent of a stage that runs again."""
SECRETS = ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
"""Variables that let a run in somewhere; their values are redacted from all that is written and printed."""


def check(track: Sequence[str], place: str = "track") -> None:
    """Raise ConfigError for a name that is no sink, or one that stands twice."""
    for i, entry in enumerate(track):
        name, colon, rest = entry.partition(":")
        here = f"{place}[{i}]"
        if entry in track[:i]:
            raise ConfigError(f"{here}: '{entry}' stands there twice; remove one")
        if title(entry) in map(title, track[:i]):
            raise ConfigError(f"{here}: another tracker is called '{title(entry)}' too; rename one of them")
        if name == "prometheus" and colon and not (rest.isdecimal() and 0 < int(rest) < 65536):
            raise ConfigError(f"{here}: '{rest}' is no port; write prometheus:9400, or prometheus for a free one")
        if name in NAMES and name != "prometheus" and colon:
            raise ConfigError(f"{here}: '{entry}': nothing stands behind {name}; write {name} alone")
        is_class = colon and rest.isidentifier()
        if not (entry in NAMES or name == "prometheus" or is_class):
            raise ConfigError(f"{here}: '{entry}' is no tracker{did_you_mean(entry, [*NAMES, 'file.py:Tracker'])}")


def problems(track: Sequence[str], folder: Path) -> list[str]:
    """Return what keeps the sinks from receiving anything here, one line each; executes nothing of the user's."""
    lines: list[str] = []
    for entry in track:
        name, colon, _ = entry.partition(":")
        if name == "wandb":
            lines += _wandb_problems()
        elif name == "mlflow":
            lines += _mlflow_problems()
        elif colon and name != "prometheus":
            lines += _class_problems(entry, folder)
    return lines


def factory(entry: str, folder: Path) -> Callable[[RunFacts], Sink]:
    """Return what makes the sink of an entry of `track`; what it needs is imported once it is called."""
    name, _, rest = entry.partition(":")
    if name == "tensorboard":
        return _make_tensorboard
    if name == "wandb":
        return _make_wandb
    if name == "mlflow":
        return _make_mlflow
    if name == "prometheus":
        return partial(_make_prometheus, int(rest or 0))
    return partial(_make_own, entry, folder)


def title(entry: str) -> str:
    """Return the name of a sink that its files have."""
    name, colon, rest = entry.partition(":")
    return rest if colon and name != "prometheus" else name


def hide_keys() -> None:
    """Redact the keys of the environment from now on."""
    for variable in SECRETS:
        remember(os.environ.get(variable, ""), f"${{oc.env:{variable}}}")


def _make_tensorboard(run: RunFacts) -> Sink:
    from rl.run.sinks.tensorboard import TensorBoard

    return TensorBoard(run)


def _make_wandb(run: RunFacts) -> Sink:
    from rl.run.sinks.wandb import Wandb

    return Wandb(run)


def _make_mlflow(run: RunFacts) -> Sink:
    from rl.run.sinks.mlflow import Mlflow

    return Mlflow(run)


def _make_prometheus(port: int, run: RunFacts) -> Sink:
    from rl.run.sinks.prometheus import Prometheus

    return Prometheus(run, port)


def _make_own(entry: str, folder: Path, run: RunFacts) -> Sink:
    where, _, name = entry.rpartition(":")
    source = f"{resolve_in(folder, where)}:{name}" if where.endswith(".py") else entry
    made: object = user_functions.load(source, "track")(run)
    if not isinstance(made, Sink):
        raise ConfigError(f"track: {entry} is no Sink; write `class {name}(Sink)`, with rl.run.sinks.base.Sink")
    return made


def _wandb_problems() -> list[str]:
    if importlib.util.find_spec("wandb") is None:
        return ["track: wandb is not installed; install it with: pip install wandb"]
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return []
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        if netrc.netrc().authenticators(host):  # where `wandb login` puts a key
            return []
    except (OSError, netrc.NetrcParseError):
        pass
    return ["track: wandb has no key to log in with; set WANDB_API_KEY, or WANDB_MODE=offline to keep the run here"]


def _mlflow_problems() -> list[str]:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "@" in urlsplit(uri).netloc:  # it would come back in messages of errors
        fix = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        return [f"track: mlflow: MLFLOW_TRACKING_URI holds a user or password; {fix}"]
    if urlsplit(uri).scheme in ("http", "https"):
        return []
    shown = f"'{uri}' is no server" if uri else "no server is named"
    return [
        f"track: mlflow: {shown}; start one with `mlflow server`, in any environment, and set "
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
    ]


def _class_problems(entry: str, folder: Path) -> list[str]:
    where, _, name = entry.rpartition(":")
    try:
        if where.endswith(".py"):
            path: Path | None = Path(locate(resolve_in(folder, where), "track"))
        else:
            path = functions.find_module(where, "track")
        if path is None:
            return []  # compiled: nothing to read
        names = functions.names_in_file(path, "track")
    except ConfigError as error:
        return [str(error)]
    if name not in names and "*" not in names:
        return [f"track: {path} defines no '{name}'{did_you_mean(name, [n for n in names if n.isidentifier()])}"]
    return []
