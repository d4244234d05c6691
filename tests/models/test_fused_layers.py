"""liger-kernel's layers, run by Triton's interpreter on a CPU, beside transformers' own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

CHECK = """
import numpy, torch, triton, triton.language as tl
from triton.runtime import interpreter

convert = interpreter._implicit_cvt
def convert_floats(value):  # which a kernel takes for scalars, and the interpreter hands on as Python's
    if not isinstance(value, float):
        return convert(value)
    return tl.tensor(interpreter.TensorHandle(numpy.array([value], dtype=numpy.float32), tl.float32), tl.float32)
interpreter._implicit_cvt = convert_floats
# The interpreter knows no functions of CUDA's library.
import liger_kernel.ops.rms_norm as norms
norms.rsqrt = lambda x: tl.rsqrt(x)
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from models import attention
from models.attention import Segments
from models.fused_layers import FUSED, fuse_layers

attention.register()
sizes = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             intermediate_size=48, head_dim=16)
segments = Segments.from_lengths(torch.tensor([5, 3]))
inputs = dict(input_ids=torch.arange(8)[None], position_ids=segments.positions_T[None], use_cache=False)
names = []
for kind in (LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config):
    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_config(kind(**sizes), attn_implementation=attention.NAME).get_decoder()
    outcomes = []
    for module in (plain, plain):
        states = module(**inputs, segments=segments).last_hidden_state
        outcomes.append((states, *torch.autograd.grad(states.square().sum(), list(module.parameters()))))
        if not outcomes[1:]:
            names += fuse_layers(torch.nn.ModuleList([plain]))
    assert plain.norm.forward.__qualname__.startswith("Liger"), plain.norm.forward
    assert plain.layers[1].mlp.forward.__qualname__.startswith("Liger")
    torch.testing.assert_close(*outcomes, atol=1e-4, rtol=1e-3)
assert names == list(FUSED), names
print("equal")
"""


@pytest.mark.skipif(find_spec("liger_kernel") is None, reason="liger-kernel comes with the GPU profile")
def test_fused_layers_compute_what_the_plain_ones_do() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, env=environment)
    assert done.stdout == "equal\n", done.stderr


def test_without_the_library_layers_stay_as_they_are() -> None:
    import torch

    from models.fused_layers import fuse_layers

    assert fuse_layers(torch.nn.Linear(2, 2)) == []
