"""Estimates one micro-batch of the policy's update on a GPU by arithmetic: nothing is computed, and no GPU is needed.

scripts/bench gpu --model FOLDER|SHAPE [--tokens N …] [--checkpointing] [--forward] [--plain-layers] [--json FILE]

The trainer's own path (packing, `LogprobModel`, loss, backward) runs on tensors without memory. Each operation takes
the time of its bytes or of its products, whichever is longer, and at least that of an empty kernel; kernels follow each
other without a gap. So the estimate is a lower bound: it leaves out gaps, waits and the allocator. Operations marked *
are kernels whose bytes are written down here, since they run only on a GPU.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tables import show
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models import heads
from models.folder import read_config
from models.load import empty_model
from rl.algorithms.objective import Objective
from rl.algorithms.policy_losses import action_weights, policy_objective
from rl.types import Batch

META = torch.device("meta")
QWEN2 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-6}
SHAPES: dict[str, dict[str, Any]] = {
    name: {
        **QWEN2, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads_,
        "num_key_value_heads": kv_heads, "intermediate_size": inner, "vocab_size": words, "tie_word_embeddings": tied,
        "max_position_embeddings": 32768,
    }
    for name, hidden, layers, heads_, kv_heads, inner, words, tied in (
        ("qwen2.5-0.5b", 896, 24, 14, 2, 4864, 151936, True),
        ("qwen2.5-1.5b", 1536, 28, 12, 2, 8960, 151936, True),
        ("qwen2.5-7b", 3584, 28, 28, 4, 18944, 152064, False),
        ("qwen2.5-32b", 5120, 64, 40, 8, 27648, 152064, False),
    )
}  # fmt: skip
GROUPS = ("products", "elementwise", "head", "gather/scatter", "attention")
VIEWS = {"alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice", "split", "squeeze", "t",
         "transpose", "unsqueeze", "view", "_unsafe_view", "unbind", "split_with_sizes", "empty", "empty_like", "new_empty",
         "new_empty_strided", "empty_strided", "lift_fresh", "resize_", "_reshape_alias"}  # fmt: skip
MOVES = ("index", "gather", "scatter", "embedding", "sort", "masked_select", "nonzero")


@dataclass(frozen=True)
class Card:
    """A GPU in four numbers; by default an H100 SXM."""

    bytes_per_s: float = 2.7e12
    products_per_s: float = 650e12
    """FLOP/s that products of 16 bits reach."""
    attention_per_s: float = 400e12
    """FLOP/s that attention's kernel reaches."""
    launch_s: float = 2.5e-6
    """Least time of a kernel."""
    peak_per_s: float = 989e12
    """FLOP/s of the data sheet, relative to which MFU is given."""


@dataclass
class Cost:
    """Operations of one kind."""

    kernels: int = 0
    bytes: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0


@dataclass
class Counter(TorchDispatchMode):
    """Costs of the operations within, by (group, operation)."""

    card: Card
    lengths: Sequence[int]
    costs: dict[tuple[str, str], Cost] = field(default_factory=lambda: defaultdict(Cost))

    def __post_init__(self) -> None:
        super().__init__()

    def charge(self, group: str, name: str, size: float, flops: float = 0.0) -> None:
        """Add a kernel that moves so many bytes and does so many products."""
        rate = self.card.attention_per_s if group == "attention" else self.card.products_per_s
        cost = self.costs[group, name]
        cost.kernels, cost.bytes, cost.flops = cost.kernels + 1, cost.bytes + size, cost.flops + flops
        cost.seconds += max(size / self.card.bytes_per_s, flops / rate, self.card.launch_s)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor) and x.device == META]
        results = [x for x in tree_leaves(out) if isinstance(x, Tensor) and x.device == META]
        if name in VIEWS or not (given or results):
            return out
        size = sum(map(_bytes, given)) + sum(map(_bytes, results))
        if "_varlen_attn" in name:
            self._charge_attention(name, given)
        else:
            self.charge(_group(name), name, size, _products(name, given, results))
        return out

    def _charge_attention(self, name: str, given: Sequence[Tensor]) -> None:
        """Add attention's kernel: what causality leaves of each sequence's square, and what it reads and writes."""
        is_backward = "backward" in name
        q, k, v = given[1:4] if is_backward else given[:3]
        pairs = sum(length * (length + 1) / 2 for length in self.lengths)
        flops = 4 * q.shape[1] * q.shape[2] * pairs
        size = 2 * _bytes(q) + _bytes(k) + _bytes(v)
        if is_backward:
            # Five products for two. It reads the output and its gradient too, adds up dq in float32, and dk and dv for each of
            # the queries' heads.
            flops, size = 2.5 * flops, 2 * size + 4 * _bytes(q) + 4 * _bytes(q)
        self.charge("attention", f"{name}*", size, flops)


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor in memory: an expanded one is smaller than it looks."""
    strides = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * math.prod(size for size, stride in strides if stride)


def _group(name: str) -> str:
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code.co_filename.endswith(("sliced_logprobs.py", "models/logprobs.py")):
            return "head"
    if name in ("mm", "addmm", "bmm", "baddbmm"):
        return "products"
    return "gather/scatter" if any(word in name for word in MOVES) else "elementwise"


def _products(name: str, given: Sequence[Tensor], results: Sequence[Tensor]) -> float:
    """Return the FLOPs of a product; 0 for anything else."""
    if name not in ("mm", "addmm", "addmm_", "bmm"):
        return 0.0
    left = given[1] if name.startswith("addmm") else given[0]
    return 2.0 * results[0].numel() * left.shape[-1]


class _Counted(torch.autograd.Function):
    """A kernel of liger-kernel's: outputs of the right shapes, and its bytes."""

    @staticmethod
    def forward(ctx: Any, counter: Counter, name: str, sizes: tuple[float, float], *inputs: Tensor) -> Any:
        ctx.counter, ctx.name, ctx.size, ctx.shapes = counter, name, sizes[1], inputs
        counter.charge("elementwise", f"{name}*", sizes[0])
        if name == "liger rope":
            return tuple(torch.empty_like(x) for x in inputs)
        return torch.empty_like(inputs[0])

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        ctx.counter.charge("elementwise", f"{ctx.name} backward*", ctx.size)
        return (None, None, None, *(torch.empty_like(x) for x in ctx.shapes))


def count_fused_layers(trunk: Any, counter: Counter) -> None:
    """Replace the layers that `models.fused_layers` does by their costs."""
    from transformers.models.qwen2 import modeling_qwen2

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return _Counted.apply(counter, "liger rms_norm", (2 * _bytes(x), 3 * _bytes(x)), x, weight)  # type: ignore[return-value]

    def rope(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *_: object, **__: object) -> Any:
        both = 2 * (_bytes(q) + _bytes(k)) + _bytes(cos) + _bytes(sin)
        return _Counted.apply(counter, "liger rope", (both, both), q, k)

    def swiglu(mlp: Any) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            gate, up = mlp.gate_proj(x), mlp.up_proj(x)
            inner = _Counted.apply(counter, "liger swiglu", (3 * _bytes(gate), 5 * _bytes(gate)), gate, up)
            return mlp.down_proj(inner)

        return forward

    modeling_qwen2.apply_rotary_pos_emb = rope
    for module in trunk.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda x, module=module: norm(x, module.weight)
        elif type(module).__name__.endswith("MLP"):
            module.forward = swiglu(module)


def draw_pack(tokens: int, sequences: int | None) -> list[int]:
    """Return lengths that add up to `tokens`: so many alike, or 12 or so of different ones."""
    if sequences:
        return [tokens // sequences] * sequences
    rng, lengths = random.Random(0), list[int]()
    while sum(lengths) < tokens:
        lengths.append(max(8, min(int(rng.lognormvariate(math.log(tokens / 12), 0.6)), tokens // 2)))
    lengths[-1] -= sum(lengths) - tokens
    return [length for length in lengths if length > 4]


def build_batch(lengths: Sequence[int], words: int) -> Batch:
    """Return a batch of random tokens, of which all but each sequence's first are actions: the head has most to do."""
    mask_T = torch.cat([torch.arange(length) >= 1 for length in lengths])
    zeros_A, count = torch.zeros(int(mask_T.sum())), len(lengths)
    tokens_T = torch.randint(5, words, (sum(lengths),))
    batch = Batch(tokens_T, torch.tensor(lengths), mask_T, zeros_A, torch.ones(count), torch.arange(count))
    return batch.add(advantages=zeros_A, old=zeros_A)


def measure(config: dict[str, Any], lengths: Sequence[int], card: Card, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a micro-batch costs: seconds, kernels, MFU, and seconds by group and operation."""
    with tempfile.TemporaryDirectory() as folder, META:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        heads.load_model = empty_model  # no weights are read
        model = heads.LogprobModel(folder, "bfloat16", options.checkpointing).train()
    batch = build_batch(lengths, config["vocab_size"])
    counter = Counter(card, lengths)
    if not options.plain_layers and config["model_type"] == "qwen2":
        count_fused_layers(model.lm, counter)
    on_card, objective = batch.to(META), Objective()
    with counter, torch.set_grad_enabled(not options.forward):
        logprobs_A, entropy_A = model(batch.tokens_T, batch.lengths_N, batch.action_mask_T)
        if not options.forward:
            loss_A, _ = policy_objective(logprobs_A, entropy_A, on_card, objective)
            (loss_A * action_weights(batch.actions_N, "token_mean").to(META)).sum().backward()
    seconds = sum(cost.seconds for cost in counter.costs.values())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    useful = 6 * parameters * sum(lengths) + 6 * layers * width * sum(length**2 for length in lengths)
    useful /= 3 if options.forward else 1
    return {
        "tokens": sum(lengths),
        "sequences": len(lengths),
        "kernels": sum(cost.kernels for cost in counter.costs.values()),
        "ms": seconds * 1e3,
        "mfu": useful / seconds / card.peak_per_s,
        "groups_ms": {g: 1e3 * sum(c.seconds for (group, _), c in counter.costs.items() if group == g) for g in GROUPS},
        "operations": [
            {"group": group, "name": name, **vars(cost)}
            for (group, name), cost in sorted(counter.costs.items(), key=lambda item: -item[1].seconds)
        ],
    }


def render(results: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """Yield the table of all packs, and one of the last pack's operations."""
    table = Table("tokens (sequences)", "kernels", "GPU ms", "MFU", *GROUPS)
    for r in results:
        pack = f"{r['tokens']:,} ({r['sequences']})"
        groups = [f"{milliseconds:.1f}" for milliseconds in r["groups_ms"].values()]
        table.add_row(pack, f"{r['kernels']:,}", f"{r['ms']:.0f}", f"{r['mfu']:.0%}", *groups)
    yield table
    table = Table("group", "operation", "kernels", "GB", "TFLOP", "ms")
    for row in results[-1]["operations"][:24]:
        numbers = (
            f"{row['kernels']:,}",
            f"{row['bytes'] / 1e9:.1f}",
            f"{row['flops'] / 1e12:.1f}",
            f"{row['seconds'] * 1e3:.1f}",
        )
        table.add_row(row["group"], row["name"], *numbers)
    yield table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="qwen2.5-1.5b", help=f"folder with a config.json, or one of {', '.join(SHAPES)}"
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192, 16384], help="tokens of a micro-batch")
    parser.add_argument("--sequences", type=int, help="sequences of one length; default: about 12 of different ones")
    parser.add_argument("--checkpointing", action="store_true", help="activations are computed again")
    parser.add_argument("--forward", action="store_true", help="logprobs alone")
    parser.add_argument("--plain-layers", action="store_true", help="transformers' own norms, SwiGLU and rope")
    parser.add_argument("--json", type=Path)
    for name, value in vars(Card()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    options = parser.parse_args()
    config = SHAPES.get(options.model) or dict(read_config(Path(options.model)))
    card = Card(**{name: getattr(options, name) for name in vars(Card())})
    results = [measure(config, draw_pack(tokens, options.sequences), card, options) for tokens in options.tokens]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    for table in render(results):
        show(Console(), table)


if __name__ == "__main__":
    main()
