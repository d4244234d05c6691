"""A trainer with a LoRA adapter: its gradient, resume, reference and exports under DeepSpeed, and its weights in an engine."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from torch import Tensor
from worlds import BETA, ragged_batch

from models.heads import TRAINED_FILE
from models.load import build as build_model
from models.load import load_model, save_model
from models.lora import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    LoraConfig,
    adapter_name,
    attach,
    is_adapter,
    save_adapter,
    trained_names,
)
from models.settings import AudioConfig, BuildConfig
from models.tokenizer import VOCABULARY
from rl.algorithms.objective import Objective
from rl.types import AUDIO_PATCH, Batch, Clip
from rl.workers.start_model import StartModel
from rollouts.remote import engine_actor
from rollouts.requests import Completion, Request
from rollouts.serving import ENVIRONMENT, ServingConfig
from rollouts.worker import EngineWorker

LORA = LoraConfig(rank=4, alpha=8)
LENGTHS = [5, 30, 12, 7, 21]
IMITATE = Objective(advantage="none", policy_loss="nll", critic=False)
PLACES = [(stage, ranks) for stage in (0, 1, 2, 3) for ranks in (1, 2)]
SHARDED = {3: {"stage3_param_persistence_threshold": 0}}  # really shards, small as it all is


@pytest.fixture(scope="module")
def batch() -> Batch:
    return ragged_batch(LENGTHS)


@pytest.fixture(scope="module")
def adapter(untied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has an effect."""
    folder, model = tmp_path_factory.mktemp("adapter"), load_model(untied)
    attach(model, LORA)
    draw = torch.Generator().manual_seed(3)
    trains = {n: w for n, w in model.named_parameters() if n in trained_names(model)}
    state = {adapter_name(n): torch.randn(w.shape, generator=draw) * 0.1 for n, w in trains.items()}
    save_adapter(model, folder, state)
    return folder


@pytest.fixture(scope="module")
def truth(untied: Path, adapter: Path, batch: Batch) -> dict[str, Tensor]:
    """The gradient of A and B by autograd alone: full logits of transformers' own model with W = W0 + scale × B A."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(untied, attn_implementation="eager", dtype=torch.float32)
    adapters = {n.removeprefix("base_model.model."): t for n, t in load_file(adapter / ADAPTER_FILE).items()}
    leaves = {name: tensor.requires_grad_() for name, tensor in adapters.items()}
    merged = dict(model.named_parameters())
    for name in adapters:
        if ".lora_A." in name:
            module = name.partition(".lora_A.")[0]
            product = leaves[f"{module}.lora_B.weight"] @ leaves[name]
            merged[f"{module}.weight"] = merged[f"{module}.weight"].detach() + LORA.scale * product
    losses: list[Tensor] = []
    for tokens, written in zip(batch.tokens_T.split(LENGTHS), batch.action_mask_T.split(LENGTHS), strict=True):
        logits = torch.func.functional_call(model, merged, (tokens[None],)).logits[0]
        before = torch.nonzero(written)[:, 0] - 1
        losses.append(-torch.log_softmax(logits[before], -1).gather(1, tokens[written][:, None]).sum())
    loss = torch.stack(losses).sum() / int(batch.action_mask_T.sum())
    return dict(zip(leaves, torch.autograd.grad(loss, [*leaves.values()]), strict=True))


def train(group: Any, role: str, batch: Batch, steps: int, rate: float = 1e-2) -> list[dict[str, float]]:
    extra = (IMITATE, 64) if role == "policy" else (0.5,)
    return [group.update(batch, [range(len(batch))], [rate], *extra).get() for _ in range(steps)]


@pytest.mark.parametrize(("stage", "ranks"), PLACES)
def test_the_gradient_is_that_of_the_merged_matrices(
    worlds: Callable[[int], Any],
    untied: Path,
    adapter: Path,
    batch: Batch,
    truth: dict[str, Tensor],
    stage: int,
    ranks: int,
) -> None:
    world = worlds(ranks)
    group = world.load("policy", adapter, stage, lora=LORA, base=untied, **SHARDED.get(stage, {}))
    train(group, "policy", batch, 1, rate=0.0)
    moments = world.momentum("policy").items()
    gradient = {adapter_name(name.removeprefix("lm.")): moment / (1 - BETA) for name, moment in moments}
    assert gradient.keys() == truth.keys()
    error = sum(float((gradient[name] - truth[name]).square().sum()) for name in truth) ** 0.5
    assert error <= 1e-5 * sum(float(g.square().sum()) for g in truth.values()) ** 0.5


CASES = [
    *(("policy", "float32", stage, ranks) for stage, ranks in PLACES),
    *(("policy", "bfloat16", stage, ranks) for stage, ranks in ((0, 1), (1, 2), (2, 2), (3, 2))),
    ("critic", "float32", 0, 1),
    ("critic", "float32", 3, 2),
    ("critic", "bfloat16", 1, 2),
]


@pytest.mark.parametrize(("role", "dtype", "stage", "ranks"), CASES)
def test_a_resumed_adapter_goes_on_as_if_nothing_had_been(
    worlds: Callable[[int], Any],
    untied: Path,
    batch: Batch,
    tmp_path: Path,
    role: str,
    dtype: str,
    stage: int,
    ranks: int,
) -> None:
    """A checkpoint holds what trains alone. The reference is computed on the way, which changes no later step."""
    world, zero = worlds(ranks), SHARDED.get(stage, {})
    group = world.load(role, untied, stage, clipping=0.5, dtype=dtype, lora=LORA, **zero)
    first = world.parameters(role)
    start_A = StartModel(group).logprobs(batch).get() if role == "policy" else None
    train(group, role, batch, 2)
    group.save(tmp_path)
    files = {ADAPTER_FILE, ADAPTER_CONFIG} if role == "policy" else {TRAINED_FILE}
    assert {f.name for f in tmp_path.iterdir() if not f.name.startswith("optimizer")} == files
    if role == "policy":
        assert torch.equal(StartModel(group).logprobs(batch).get(), start_A)
        assert not torch.equal(group.logprobs(batch).get(), start_A)
    expected = train(group, role, batch, 1), world.parameters(role)
    group = world.load(role, tmp_path, stage, clipping=0.5, dtype=dtype, lora=LORA, base=untied, **zero)
    group.restore_optimizer(tmp_path)
    (report,), parameters = train(group, role, batch, 1), world.parameters(role)
    assert [report] == expected[0]
    assert parameters.keys() == expected[1].keys()
    for name, weight in parameters.items():
        assert torch.equal(weight, expected[1][name]), name
        trains = is_adapter(name) or name.startswith("head.")
        assert torch.equal(weight, first[name]) != trains, f"{name} trains: {trains}"


@pytest.mark.parametrize(("dtype", "stage", "ranks"), [("float32", 0, 1), ("float32", 3, 2), ("bfloat16", 2, 2)])
def test_an_export_is_the_merged_model_and_the_adapter_beside_it(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, tmp_path: Path, dtype: str, stage: int, ranks: int
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    group = worlds(ranks).load("policy", untied, stage, dtype=dtype, lora=LORA, **SHARDED.get(stage, {}))
    train(group, "policy", batch, 3)
    group.export(tmp_path / "model")
    assert {f.name for f in tmp_path.iterdir()} == {"model", "adapter"}
    exact = torch.float32
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=exact)
    base = AutoModelForCausalLM.from_pretrained(untied, dtype=exact)
    ids = torch.arange(40, 70)[None]
    with torch.no_grad():
        first, joined = base(ids).logits, merged(ids).logits
        adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))(ids).logits
    tolerance = 1e-5 if dtype == "float32" else 5e-2
    assert (joined - adapted).abs().max() <= tolerance
    assert (joined - first).abs().max() > 0.1


def test_a_reward_model_is_exported_merged(
    worlds: Callable[[int], Any], untied: Path, batch: Batch, tmp_path: Path
) -> None:
    world = worlds(1)
    group = world.load("critic", untied, lora=LORA)
    train(group, "critic", batch, 3)
    values_A = group.values(batch).get()
    group.export(tmp_path / "critic")
    again_A = world.load("critic", tmp_path / "critic").values(batch).get()
    assert values_A.abs().max() > 0.01
    assert torch.allclose(values_A, again_A, atol=1e-5)


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that hears; its audio parts are loud, so that what it writes depends on the sound."""
    audio = AudioConfig(mel_bins=16, hidden_size=32, layers=1)
    folder = build_model(
        BuildConfig(hidden_size=64, layers=2, heads=2, audio=audio), tmp_path_factory.mktemp("models") / "ears", seed=3
    )
    model = load_model(folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.startswith("adapter.") and weight.dim() > 1:
                weight.mul_(8)
    save_model(model, folder, dict(model.named_parameters()))
    return folder


def clip() -> Clip:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(np.arange(12000) / 7), 16000, format="WAV")
    return Clip(data=file.getvalue())


def requests(count: int, hears: bool) -> list[Request]:
    """Prompts of unequal lengths; half of them with a clip where the model `hears`."""
    sound, clips = VOCABULARY[AUDIO_PATCH], (clip(),)
    return [
        Request(
            (i, 0), (sound, *text) if hears and i % 2 else text, 1000 + i, 20, 1.0, clips if hears and i % 2 else ()
        )
        for i, text in enumerate(tuple(range(40, 52 + i % 5)) for i in range(count))
    ]


def written_by(engine: Any, version: int, hears: bool) -> Batch:
    """Return what an engine writes, with its logprobs."""
    asked = requests(8, hears)
    return batch_of(asked, ray.get(engine.advance.remote(version, asked, 60.0)), version)


def batch_of(asked: Sequence[Request], done: Sequence[Completion], version: int) -> Batch:
    """Return the samples of requests as a batch that `version` learns from."""
    completions = sorted(done, key=lambda c: c.key)
    versions = [v for c in completions for v, count in c.spans for _ in range(count)]
    return Batch(
        torch.cat([torch.tensor(c.tokens) for c in completions]),
        torch.tensor([len(c.tokens) for c in completions]),
        torch.cat([torch.arange(len(c.tokens)) >= c.prompt_length for c in completions]),
        torch.from_numpy(np.concatenate([c.logprobs for c in completions])),
        torch.zeros(len(completions)),
        torch.arange(len(completions)),
        version=version,
        clips_N=tuple(r.clips for r in asked) if any(r.clips for r in asked) else (),
    ).add(versions=torch.tensor(versions))


ENGINES = [("float32", "merged", 1e-5), ("float32", "adapter", 1e-5), ("bfloat16", "adapter", 2e-2)]
FOLLOWED = [*((model, *engines) for model in ("tied", "listening") for engines in ENGINES), ("untied", *ENGINES[0])]
"""Model and form of its updates; a head of its own, which is frozen, makes a difference only where matrices are merged."""


@pytest.mark.parametrize(("model", "dtype", "engines", "bound"), FOLLOWED)
def test_engines_follow_the_adapter(
    worlds: Callable[[int], Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    model: str,
    dtype: str,
    engines: Any,
    bound: float,
) -> None:
    """After each update, in the next stage on another base model, and in a new engine in a dead one's place, samples are the
    adapted policy's, with its logprobs; without the adapter they would be far off. So is what is written after an update of
    samples that were begun before. What is frozen is sent once."""
    world, folder, hears = worlds(1), request.getfixturevalue(model), model == "listening"
    lora = LoraConfig(rank=4, alpha=8, engines=engines)
    kind = engine_actor(EngineWorker).options(num_cpus=0, runtime_env={"env_vars": ENVIRONMENT})
    engine = kind.remote(str(folder), dtype, 256, ServingConfig(kv_cache_mb=64), False, lora.engine_rank(dtype))
    group = world.load("policy", folder, dtype=dtype, lora=lora)
    frozen_names: set[frozenset[str]] = set()
    begun: list[Request] = []

    def gap(written: Batch, logprobs_A: Tensor) -> float:
        gap_A = (logprobs_A - written.rollout_logprobs_A).abs()[written.versions_A == written.version]
        return float(gap_A.mean() if dtype == "bfloat16" else gap_A.max())

    for version in range(1, 6):
        if version == 4:  # the next stage starts a fresh adapter on what the one before has made
            group.export(tmp_path / "model")
            group = world.load("policy", tmp_path / "model", dtype=dtype, lora=lora)
        weights = group.weights()
        frozen_names.add(frozenset(bucket["frozen"] for bucket in weights.buckets if bucket.get("frozen")))
        receipt = ray.get(engine.load.remote(version, weights.buckets))
        assert receipt.version == version
        assert receipt.received == [weights.checksums], "the adapter's tensors are among them"
        if version in (2, 5):  # begun under the version before, after whose step the weights changed
            late = batch_of(begun, ray.get(engine.settle.remote()), version)
            assert (late.versions_A == version).float().mean() > 0.5
            assert gap(late, group.logprobs(late).get()) <= bound
        written = written_by(engine, version, hears)
        assert gap(written, group.logprobs(written).get()) <= bound
        if version in (2, 3, 5):
            assert gap(written, StartModel(group).logprobs(written).get()) > 2 * bound
        train(group, "policy", written, 2)
        if version in (1, 4):
            begun = requests(6, hears)
            assert not ray.get(engine.advance.remote(version, begun, 0.0))
    # Where A and B are sent the two base models differ; where they are merged what is frozen (embeddings, norms) is the same.
    assert len(frozen_names) == (1 if engines == "merged" else 2)
    group.export(tmp_path / "last")
    assert ray.get(engine.load.remote(6, [{"folder": str(tmp_path / "last")}])).version == 6
    written = written_by(engine, 6, hears)
    assert gap(written, group.logprobs(written).get()) <= bound
    ray.kill(engine)
