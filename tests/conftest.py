"""What heavy tests share: one Ray for the session, one engine, tiny models on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from judge_api import Api, served
from samples import scored_sample
from skips import pytest_sessionfinish, pytest_unconfigure
from suite_order import longest_first

__all__ = ["pytest_sessionfinish", "pytest_unconfigure"]

os.environ |= {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
}
os.environ.pop("COLUMNS", None)  # set by the runner for its workers; the command is as wide as for anyone
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # side by side
        items[:] = longest_first(items)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray with four logical CPUs; a `Cluster` that finds it running leaves it running."""
    from rl.workers.ray_start import start_local_ray, stop_ray

    start_local_ray(4)
    yield
    stop_ray()


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, 64 wide, embedding and head one matrix."""
    from models.load import build
    from models.settings import BuildConfig

    return build(BuildConfig(hidden_size=64, layers=2, heads=2), tmp_path_factory.mktemp("models") / "tied", seed=1)


@pytest.fixture(scope="session")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, 64 wide, grouped-query attention, a head of its own."""
    from models.load import build
    from models.settings import BuildConfig

    config = BuildConfig(hidden_size=64, layers=2, heads=2, kv_heads=1, tied=False)
    return build(config, tmp_path_factory.mktemp("models") / "untied", seed=2)


@pytest.fixture(scope="session")
def start_engine(ray_session: None) -> Callable[[Path], Any]:
    """An EngineWorker actor for a model, in the making: several may start side by side."""
    from rollouts.remote import engine_actor
    from rollouts.serving import ENVIRONMENT, ServingConfig
    from rollouts.worker import EngineWorker

    def start(model: Path) -> Any:
        actor = engine_actor(EngineWorker).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
        return actor.remote(str(model), "float32", 512, ServingConfig(kv_cache_mb=64))

    return start


@pytest.fixture(scope="session")
def engine(start_engine: Callable[[Path], Any], tied: Path) -> Any:
    """An EngineWorker actor with the tied model; a test may load other weights and need not put the first ones back."""
    return start_engine(tied)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def sample() -> Callable[..., Any]:
    """Makes a scored sample."""
    return scored_sample


@pytest.fixture
def api() -> Iterator[Api]:
    """A judge's endpoint on this machine."""
    with served() as server:
        yield server


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, without data, a hub, a cluster, or the session's Ray: a plan would count what it has."""
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_ADDRESS", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "STEP_AUDIO_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GROUNDTONE_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GROUNDTONE_PRETRAINED", str(tmp_path / "pretrained"))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
