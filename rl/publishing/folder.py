"""Lays a run's model out as a hub takes it, and uploads it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.folder import check_whole
from models.joined_adapters import join_adapters
from models.settings import ModelConfig
from models.shape import read_shape
from rl.config import ConfigError
from rl.publishing.adapter import find_adapters
from rl.publishing.card import inherited_licence, without_home, write_card
from rl.publishing.licences import model_sources
from rl.recipe import load
from rl.redaction import redact_text
from rl.report.run_data import read_run
from rl.run.provenance import INSIDE
from rl.run.summary import RECIPE

REPOSITORY = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?/[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?")
"""OWNER/NAME, as the hub takes it."""
WHOLE_MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json")
"""Files of a model that are not published with an adapter, which finds them in its base; tokenizer and chat template are."""


@dataclass(frozen=True)
class Upload:
    """Files that are uploaded to a repository."""

    folder: Path
    files: list[tuple[str, int]]
    """(path within the folder, bytes), in order."""
    licence: str | None
    is_inherited: bool
    """True if the licence is that of the model that the run started from."""


def prepare(run_dir: Path, repository: str, out: Path, licence: str | None, adapter_only: bool = False) -> Upload:
    """Write the folder of a run's model to `out`, which is new: weights (linked where the disk allows) or the adapter alone,
    recipe and card. Raises ConfigError for a run without a model or such an adapter, and for a name that is no repository's."""
    if not REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository or len(repository) > 96:
        raise ConfigError(f"'{repository}' is no repository; name it OWNER/NAME, of letters, digits, '.', '_' and '-'")
    run = read_run(run_dir, lambda _: None)
    model = run_dir / "model"
    if not (model / "config.json").is_file():
        fix = "resume it" if run.status != "done" else "name a run that trains"
        raise ConfigError(f"{run_dir}: has no model to publish (its status is '{run.status}'); {fix}")
    check_whole(model)
    recipe_file = run_dir / RECIPE
    if not recipe_file.is_file():
        raise ConfigError(f"{run_dir}: has no {RECIPE}, so the card could not say how it was trained")
    recipe = load(recipe_file, check=False)
    text = without_home(redact_text(recipe_file.read_text(encoding="utf-8")))
    shape = read_shape(ModelConfig(path=str(model)))
    adapter = find_adapters(run) if adapter_only else None
    models = [adapter.base] if adapter else model_sources(recipe.header.model)
    base_licence = None if licence else inherited_licence(models)
    listens = bool(shape and shape.token_rate)
    card = write_card(run, recipe, text, repository, licence or base_licence, listens, models, adapter)
    if adapter:
        join_adapters(adapter.folders, adapter.base_name, out)
    _lay_out(model, out, leave_out=WHOLE_MODEL if adapter else ())
    (out / RECIPE).write_text(text, encoding="utf-8")
    (out / "README.md").write_text(card, encoding="utf-8")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    sizes = [(path.relative_to(out).as_posix(), path.stat().st_size) for path in files]
    return Upload(out, sizes, licence or base_licence, base_licence is not None)


def upload(prepared: Upload, repository: str, private: bool) -> str:
    """Upload a folder to the hub and return the repository's address. The token is that of the environment or of the hub's
    login. Raises ConfigError without one, ValueError where the hub refuses."""
    import httpx
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not huggingface_hub.get_token():
        raise ConfigError("no token for the hub; set HF_TOKEN or log in with `hf auth login`, or use --dry-run")
    hub = huggingface_hub.HfApi()
    try:
        address = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=prepared.folder, commit_message="Model, card and recipe")
    except (HfHubHTTPError, OfflineModeIsEnabled, httpx.HTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{repository}: the hub did not take it: {redact_text(reason)}") from error
    return str(address)


def _lay_out(model: Path, out: Path, leave_out: Sequence[str]) -> None:
    """Link or copy the model's files, without hidden ones, what only this run's machine knows, and the patterns `leave_out`."""
    for file in sorted(model.rglob("*")):
        path = file.relative_to(model)
        # The card and the recipe are written anew: into a link they would be written into the run.
        is_ours = path.as_posix() in ("README.md", RECIPE)
        if not file.is_file() or is_ours or file.name == INSIDE or any(part.startswith(".") for part in path.parts):
            continue
        if any(file.match(pattern) for pattern in leave_out):
            continue
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), out / path)  # weights are large, and nothing changes them here
        except OSError:  # another file system
            shutil.copy2(file, out / path)
