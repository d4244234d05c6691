"""Weights & Biases: curves by stage and step, tables of samples with sounds, evaluations, and the report as an artifact.

Project, entity, mode and key come from wandb's own variables (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, WANDB_API_KEY), and
none of them is written anywhere. Nothing but the records leaves the machine: not the command line, the code, the terminal, or
the packages.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rl.run.sinks.base import OnceOnlySink, RunFacts, Sample

COLUMNS = ["step", "prompt", "answer", "sample", "score", "reason"]


class Wandb(OnceOnlySink):
    """One run at wandb, which a resumed run continues."""

    def __init__(self, run: RunFacts) -> None:
        super().__init__(run)
        import wandb

        if "id" not in run.memory:
            run.remember(id=secrets.token_hex(4), sent={})
        run.files.mkdir(parents=True, exist_ok=True)
        # Sounds and tables wait there to be sent; by default that is in the home folder, apart from the run.
        os.environ.setdefault("WANDB_DATA_DIR", str(run.files))
        settings = wandb.Settings(
            console="off",
            silent=True,
            save_code=False,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_meta=True,  # the host's name and the command line, which may hold a secret
            x_disable_stats=True,
            x_save_requirements=False,
        )
        self._wandb: Any = wandb
        self._wandb_run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "groundtone"),
            name=os.environ.get("WANDB_NAME", run.name),
            id=str(run.memory["id"]),
            resume="allow",  # goes on in the run of that id; where an earlier process never got to wandb, it begins one
            dir=str(run.files),
            config={"recipe": dict(run.config), "provenance": dict(run.provenance)},
            settings=settings,
        )
        self._stages: set[str] = set()

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        if self.is_new("metrics", stage, step):
            self._log(stage, step, dict(metrics))

    def record_samples(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        if not self.is_new("samples", stage, step):
            return
        sounds = max((len(sample.clips) for sample in samples), default=0)
        table = self._wandb.Table(columns=[*COLUMNS, *(f"sound {i + 1}" for i in range(sounds))])
        for sample in samples:
            clips = [self._sound(clip) for clip in sample.clips]
            row = [step, sample.prompt, sample.answer, sample.text, sample.score, sample.reason]
            table.add_data(*row, *clips, *[None] * (sounds - len(clips)))
        self._log(stage, step, {"samples": table})

    def record_table(self, name: str, rows: Sequence[Mapping[str, str | float]]) -> None:
        if rows:
            table = self._wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
            self._wandb_run.log({name: table})

    def record_artifact(self, path: Path) -> None:
        artifact = self._wandb.Artifact(f"{self.run.name}-{path.stem}", type=path.stem)
        artifact.add_file(str(path))
        self._wandb_run.log_artifact(artifact)

    def finish(self, status: str) -> None:
        self._wandb_run.summary["status"] = status
        self._wandb_run.finish(exit_code=0 if status == "done" else 1)

    def _log(self, stage: str, step: int, values: Mapping[str, object]) -> None:
        """Log values under the stage's name, against the stage's own steps: wandb's own count must never fall."""
        if stage not in self._stages:
            self._stages.add(stage)
            self._wandb_run.define_metric(f"{stage}/step", hidden=True)
            self._wandb_run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._wandb_run.log({f"{stage}/step": step, **{f"{stage}/{name}": value for name, value in values.items()}})

    def _sound(self, clip: Path) -> object:
        import soundfile

        signal, rate = soundfile.read(clip, dtype="float32")
        return self._wandb.Audio(signal, sample_rate=rate)
