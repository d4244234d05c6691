"""The model card: what the model is, how it was trained, what was measured, from which data, how to load it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from rl.publishing.adapter import AdapterChain
from rl.publishing.licences import UNKNOWN, Source, data_source
from rl.recipe import Recipe
from rl.redaction import redact_text
from rl.report.evaluations import format_difference
from rl.report.run_data import Run, Stage, compute_paired_difference
from rl.report.tables import format_interval
from rl.terminal import visible

LOADERS = {"model": "AutoModelForCausalLM", "tokenizer": "AutoTokenizer"}


def write_card(
    run: Run,
    recipe: Recipe,
    recipe_text: str,
    repository: str,
    licence: str | None,
    listens: bool,
    models: Sequence[Source],
    adapter: AdapterChain | None = None,
) -> str:
    """Return the text of README.md, for a whole model that was made from `models`, or for its `adapter`. Secrets and this user's
    folders stand in no line of it."""
    sections = [
        _front_matter(recipe, models, licence, listens, adapter),
        _title(run, recipe, models, repository),
        _results(run),
        _loading_adapter(repository, listens, adapter) if adapter else _loading(repository, listens),
        _training(run, recipe_text),
        _data(recipe, models, licence),
    ]
    text = without_home(redact_text("\n\n".join(sections)))
    return visible(text) + "\n"


def without_home(text: str) -> str:
    """Return the text with `~` for the user's home directory."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text  # a user without a home has /


def inherited_licence(models: Sequence[Source]) -> str | None:
    """Return the licence of the models that a run started from, in the hub's spelling, where it is known and the only one."""
    licences = {source.licence.lower() for source in models}
    return next(iter(licences)) if len(licences) == 1 and UNKNOWN not in licences else None


def _front_matter(
    recipe: Recipe, models: Sequence[Source], licence: str | None, listens: bool, adapter: AdapterChain | None
) -> str:
    algorithms = [str(getattr(stage.config, "algorithm", "")) for stage in recipe.stages if stage.kind == "rlvr"]
    tags = dict.fromkeys(
        ["groundtone", *(stage.kind for stage in recipe.stages if "model" in stage.facts.makes), *algorithms]
    )
    hubs = [source.hub for source in models if source.hub]
    data = [source.hub for source in _datas(recipe) if source.hub]
    lines = ["---"]
    lines += [f"license: {json.dumps(licence)}"] if licence else []
    lines += [
        f"library_name: {'peft' if adapter else 'transformers'}",
        f"pipeline_tag: {'audio-text-to-text' if listens else 'text-generation'}",
    ]
    lines += [f"base_model: {json.dumps(hubs)}"] if hubs else []
    lines += ["base_model_relation: adapter"] if hubs and adapter else []
    lines += [f"datasets: {json.dumps(data)}"] if data else []
    return "\n".join([*lines, f"tags: {json.dumps(list(filter(None, tags)))}", "---"])


def _title(run: Run, recipe: Recipe, models: Sequence[Source], repository: str) -> str:
    start = " and ".join(source.name for source in models) or "random weights"
    kinds = (
        " → ".join(dict.fromkeys(stage.kind for stage in recipe.stages if "model" in stage.facts.makes))
        or "no training"
    )
    return (
        f"# {repository.rpartition('/')[2]}\n\nTrained with Groundtone from {_inline(start)} "
        f"by the recipe `{run.name}`: {kinds}."
    )


def _results(run: Run) -> str:
    evaluations = run.evaluations
    if not evaluations:
        return "## Results\n\nThe recipe measures nothing."
    lines = [
        "## Results",
        "",
        "Values with 95 % intervals over the prompts; gains over the latest earlier evaluation with the same prompts, paired. What is "
        "right is what the recipe's verifiers call right.",
        "",
        "| evaluation | accuracy | greedy accuracy | gain in accuracy |",
        "|---|---|---|---|",
    ]
    for i, stage in enumerate(evaluations):
        cells = [stage.name, *(format_interval(stage.interval(name)) for name in ("accuracy", "greedy_accuracy"))]
        lines.append(f"| {' | '.join(map(_cell, [*cells, _gain(evaluations[:i], stage)]))} |")
    return "\n".join(lines)


def _gain(earlier: Sequence[Stage], stage: Stage) -> str:
    for before in reversed(earlier):
        gain = compute_paired_difference(before, stage, refuse=lambda _: None)
        # None where it had other prompts, whose difficulty would be part of the difference.
        if gain is not None:
            return f"{format_difference(gain)} over {before.name}, {gain.prompts} prompts"
    return ""


def _loading(repository: str, listens: bool) -> str:
    """Return how to load the model; one that listens has an architecture that the package groundtone brings."""
    code = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if listens:
        code = ["from models import audio  # of the package groundtone", *code, "audio.register()"]
    code += [f'{name} = {kind}.from_pretrained("{repository}")' for name, kind in LOADERS.items()]
    note = "vLLM serves it where groundtone is installed, and takes sound as `input_audio`.\n\n" if listens else ""
    return (
        "## Load it\n\nThe chat template renders the very prompts of training.\n\n"
        f"```python\n{chr(10).join(code)}\n```\n\n{note}"
        f"```bash\nvllm serve {repository}\nrl chat {repository}    # with groundtone\n```"
    )


def _loading_adapter(repository: str, listens: bool, adapter: AdapterChain) -> str:
    """Return how to load an adapter on its base model."""
    base, name, rank = adapter.base_name, repository.rpartition("/")[2], adapter.engine_rank
    code = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if listens:
        code = ["from models import audio  # of the package groundtone", *code, "audio.register()"]
    code += [
        f'base = AutoModelForCausalLM.from_pretrained("{base}")',
        f'model = PeftModel.from_pretrained(base, "{repository}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{repository}")',
    ]
    # Tokenizer, chat template and stop tokens of the trained model: vLLM takes the base's unless it is told.
    files = f"--tokenizer {repository} --generation-config {repository}"
    serve = f"vllm serve {base} {files} --enable-lora --max-lora-rank {rank} --lora-modules {name}={repository}"
    # vLLM refuses an adapter that has a module which trained whole, as a model that listens has.
    command = "" if listens or rank is None else f"\n\n```bash\n{serve}\n```"
    other = (
        ""
        if adapter.base.name == base
        else f" It was trained on {_inline(adapter.base.name)}, and the results above are those with that model: the code below "
        "loads the original, whose weights differ by their rounding."
    )
    return (
        f"## Load it\n\nAn adapter (LoRA) of {base}.{other} The chat template renders the very prompts of training."
        f"\n\n```python\n{chr(10).join(code)}\n```{command}"
    )


def _training(run: Run, recipe_text: str) -> str:
    packages = run.environment.get("packages") or {}
    versions = (
        ", ".join(f"{name} {version}" for name, version in packages.items()) if isinstance(packages, dict) else ""
    )
    commit = run.environment.get("commit")
    text = "\n\n".join(
        filter(None, [f"With {versions}." if versions else "", f"Groundtone's commit: {commit}." if commit else ""])
    )
    # A fence longer than any in the recipe, which a template or a comment may hold.
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", recipe_text)), default=0))
    return f"## How it was trained\n\n`rl run recipe.yaml`\n\n{fence}yaml\n{recipe_text.rstrip()}\n{fence}" + (
        f"\n\n{text}" if text else ""
    )


def _data(recipe: Recipe, models: Sequence[Source], licence: str | None) -> str:
    rows = [("model", source) for source in models]
    rows += [("data", source) for source in _datas(recipe)]
    table = [f"| {kind} | {_cell(source.name)} | {_cell(source.licence)} |" for kind, source in rows]
    statement = f"This model: {licence}." if licence else "No licence was chosen for this model."
    return "\n".join(["## Sources and licences", "", statement, "", "| | from | licence |", "|---|---|---|", *table])


def _datas(recipe: Recipe) -> list[Source]:
    return [data_source(name, data) for name, data in recipe.header.data.items()]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _inline(text: str) -> str:
    return " ".join(text.split())
