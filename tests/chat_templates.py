"""Chat templates of public models, their structure written anew, and small tokenizers to render them with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_2_5 = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant made by a cloud.<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) or m.role == 'assistant' %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
QWEN_3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last_query=0) %}
{%- for m in messages %}
    {%- if m.role == 'user' and m.content is string and not m.content.startswith('<tool_response>') %}
        {%- set ns.last_query = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif m.role == 'assistant' %}
        {%- set chain = '' %}
        {%- if m.reasoning_content is string %}
            {%- set chain = m.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set chain = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query and (loop.last or chain) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + chain.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
SMOLLM_3 = """\
{%- set mode = '/think' if enable_thinking is not defined or enable_thinking else '/no_think' -%}
{{- '<|im_start|>system\\n## Metadata\\nReasoning mode: ' + mode + '\\n' -}}
{%- if messages[0].role == 'system' -%}{{- messages[0].content.rstrip() + '\\n' -}}{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- for m in messages -%}
    {%- if m.role == 'user' -%}
        {{ '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
    {%- elif m.role == 'assistant' -%}
        {%- if mode == '/think' -%}
            {{ '<|im_start|>assistant\\n' + m.content.lstrip('\\n') + '<|im_end|>\\n' }}
        {%- else -%}
            {{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n' + m.content.lstrip('\\n') + '<|im_end|>\\n' }}
        {%- endif -%}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' + ('' if mode == '/think' else '<think>\\n\\n</think>\\n') -}}
{%- endif -%}
"""
LLAMA_3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = '26 Jul 2024' %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{{- 'Cutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n' }}
{{- system }}
{{- '<|eot_id|>' }}
{%- for m in messages %}
    {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
LLAMA_2 = """\
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}\
{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}\
{% for m in loop_messages %}\
{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if loop.index0 == 0 and system != false %}\
{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + m['content'] %}\
{% else %}{% set content = m['content'] %}{% endif %}\
{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif m['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""
MISTRAL = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{{- bos_token }}
{%- for m in turns %}
    {%- if m['role'] == 'user' %}
        {%- if loop.last and system is defined %}
            {{- '[INST] ' + system + '\\n\\n' + m['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + m['content'] + '[/INST]' }}
        {%- endif %}
    {%- elif m['role'] == 'assistant' %}
        {{- ' ' + m['content'] | trim + eos_token }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles are supported') }}
    {%- endif %}
{%- endfor %}
"""
GEMMA_2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
GEMMA_3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set prefix = messages[0]['content'] + '\n\n' -%}
    {%- else -%}
        {%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set prefix = '' -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for m in loop_messages -%}
    {%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}
    {{ '<start_of_turn>' + role + '\n' + (prefix if loop.first else '') }}
    {%- if m['content'] is string -%}
        {{ m['content'] | trim }}
    {%- elif m['content'] is iterable -%}
        {%- for item in m['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\n' }}
{%- endif -%}
"""
PHI_3 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{'<|system|>\n' + m['content'] + '<|end|>\n'}}"
    "{% elif m['role'] == 'user' %}{{'<|user|>\n' + m['content'] + '<|end|>\n'}}"
    "{% elif m['role'] == 'assistant' %}{{'<|assistant|>\n' + m['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_4 = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{'<|im_start|>system<|im_sep|>' + m['content'] + '<|im_end|>'}}"
    "{% elif m['role'] == 'user' %}{{'<|im_start|>user<|im_sep|>' + m['content'] + '<|im_end|>'}}"
    "{% elif m['role'] == 'assistant' %}{{'<|im_start|>assistant<|im_sep|>' + m['content'] + '<|im_end|>'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)
SMOLLM_2 = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEEPSEEK_R1 = (
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{% set ns.system = m['content'] %}{% endif %}{% endfor %}{{ bos_token }}{{ ns.system }}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{% set content = m['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)
DEEPSEEK_V3_1 = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{% set content = m['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>', 1)[1] %}{% endif %}"
    "{{ '<｜Assistant｜></think>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}"
    "{% endif %}{% endif %}"
)
ZEPHYR = """\
{% for m in messages %}
{% if m['role'] == 'user' %}
{{ '<|user|>\n' + m['content'] + eos_token }}
{% elif m['role'] == 'system' %}
{{ '<|system|>\n' + m['content'] + eos_token }}
{% elif m['role'] == 'assistant' %}
{{ '<|assistant|>\n' + m['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""
OLMO = """\
{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + '\n' }}\
{% elif m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '\n' }}\
{% elif m['role'] == 'assistant' %}{% if not loop.last %}\
{{ '<|assistant|>\n' + m['content'] + eos_token + '\n' }}{% else %}{{ '<|assistant|>\n' + m['content'] + eos_token }}\
{% endif %}{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"""
GRANITE = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set system = 'Knowledge Cutoff Date: April 2024.\nYou are a granite.' %}
    {%- if thinking %}
        {%- set system = system + '\nWrite your thoughts, then your answer.' %}
    {%- endif %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + system + '<|end_of_text|>\n' }}
{%- for m in loop_messages %}
    {{- '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\n' }}
    {%- if loop.last and add_generation_prompt %}
        {{- '<|start_of_role|>assistant<|end_of_role|>' }}
    {%- endif %}
{%- endfor %}
"""
GLM_4_5 = """\
[gMASK]<sop>
{%- set ns = namespace(last_user=-1) %}
{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last_user = loop.index0 %}{%- endif %}{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'user' -%}<|user|>
{{ m.content }}
{{- '/nothink' if enable_thinking is defined and not enable_thinking and not m.content.endswith('/nothink') else '' }}
{%- elif m.role == 'assistant' -%}
<|assistant|>
{%- set chain = '' %}
{%- set content = m.content %}
{%- if '</think>' in content %}
    {%- set chain = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
    {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > ns.last_user and chain %}
{{ '\\n<think>' + chain.strip() + '</think>' }}
{%- else %}
{{ '\\n<think></think>' }}
{%- endif %}
{%- if content.strip() %}
{{ '\\n' + content.strip() }}
{%- endif %}
{%- elif m.role == 'system' -%}<|system|>
{{ m.content }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt -%}
    <|assistant|>{{- '\\n<think></think>' if enable_thinking is defined and not enable_thinking else '' }}
{%- endif -%}
"""
EMPTY_CHAIN = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n\n</think>\n\n' }}{% endif %}")
STRIPS_CHAINS = CHATML.replace("m['content']", "m['content'].split('</think>')[-1].lstrip('\n')")
VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}{% set messages = messages[1:] %}"
    "{% else %}{{ 'A chat between a user and an assistant. ' }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@dataclass(frozen=True)
class Model:
    """What is special to a public model's chat."""

    template: str
    control: tuple[str, ...]
    """Control tokens, the one that ends an assistant's turn first."""
    eos: str
    bos: str | None = None
    thinks: bool = False
    """What `template_thinks` should say."""
    system: bool = True
    """False where the template refuses a system turn."""
    rstrip: bool = False
    """True if the control tokens take white space after them along, as Phi-3's do."""
    pieces: bool = False
    """True for a tokenizer in SentencePiece's manner, with `▁` for spaces and before texts, else bytes."""


CHATML_TOKENS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
TAGS = ("<think>", "</think>")
DEEPSEEK = ("<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", *TAGS)
MODELS = {
    "chatml": Model(CHATML, CHATML_TOKENS, "<|endoftext|>"),
    "chatml with tags": Model(CHATML, (*CHATML_TOKENS, *TAGS), "<|im_end|>"),
    "qwen 2.5": Model(QWEN_2_5, CHATML_TOKENS, "<|im_end|>"),
    "qwen 3": Model(QWEN_3, (*CHATML_TOKENS, *TAGS, "<tool_response>"), "<|im_end|>", thinks=True),
    "smollm 3": Model(SMOLLM_3, (*CHATML_TOKENS, *TAGS), "<|im_end|>", thinks=True),
    "llama 3": Model(
        LLAMA_3,
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"),
        "<|end_of_text|>",
        "<|begin_of_text|>",
    ),
    "llama 2": Model(LLAMA_2, ("</s>", "<s>", "<unk>"), "</s>", "<s>"),
    "llama 2 in pieces": Model(LLAMA_2, ("</s>", "<s>", "<unk>"), "</s>", "<s>", pieces=True),
    "mistral": Model(MISTRAL, ("</s>", "<s>", "[INST]", "[/INST]"), "</s>", "<s>"),
    "mistral in pieces": Model(MISTRAL, ("</s>", "<s>", "[INST]", "[/INST]"), "</s>", "<s>", pieces=True),
    "gemma 2": Model(GEMMA_2, ("<end_of_turn>", "<bos>", "<eos>", "<start_of_turn>"), "<eos>", "<bos>", system=False),
    "gemma 3": Model(GEMMA_3, ("<end_of_turn>", "<bos>", "<eos>", "<start_of_turn>"), "<eos>", "<bos>"),
    "phi 3": Model(
        PHI_3, ("<|end|>", "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"), "<|endoftext|>", rstrip=True
    ),
    "phi 4": Model(PHI_4, (*CHATML_TOKENS, "<|im_sep|>"), "<|endoftext|>"),
    "smollm 2": Model(SMOLLM_2, CHATML_TOKENS, "<|im_end|>"),
    "deepseek r1": Model(DEEPSEEK_R1, DEEPSEEK, DEEPSEEK[0], DEEPSEEK[1], thinks=True),
    "deepseek v3.1": Model(DEEPSEEK_V3_1, DEEPSEEK, DEEPSEEK[0], DEEPSEEK[1]),
    "zephyr": Model(ZEPHYR, ("</s>", "<s>", "<unk>"), "</s>", "<s>"),
    "zephyr in pieces": Model(ZEPHYR, ("</s>", "<s>", "<unk>"), "</s>", "<s>", pieces=True),
    "olmo": Model(OLMO, ("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>"),
    "granite": Model(
        GRANITE, ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"), "<|end_of_text|>", "<|end_of_text|>"
    ),
    "glm 4.5": Model(
        GLM_4_5,
        ("<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>", "[gMASK]", "<sop>", *TAGS),
        "<|endoftext|>",
        thinks=True,
    ),
    "empty chain": Model(EMPTY_CHAIN, CHATML_TOKENS, "<|im_end|>"),
    "strips chains": Model(STRIPS_CHAINS, (*CHATML_TOKENS, *TAGS), "<|im_end|>"),
    "vicuna": Model(VICUNA, ("</s>", "<s>"), "</s>", "<s>"),
}


def tokenizer_of(model: Model) -> Any:
    """Return a tokenizer of letters with the model's control tokens and template, and a few merges of its own."""
    core = _pieces() if model.pieces else _bytes()
    core.add_tokens([_added(text, model.rstrip) for text in model.control])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=model.eos, bos_token=model.bos, clean_up_tokenization_spaces=False
    )
    fast.chat_template = model.template
    return fast


def _added(text: str, rstrip: bool) -> AddedToken:
    # As in Qwen3's and DeepSeek's files, where not every control token is called special.
    return AddedToken(text, special=text not in (*TAGS, "<｜User｜>"), normalized=False, rstrip=rstrip)


def _bytes() -> Tokenizer:
    merges = [("Ċ", "Ċ"), (">", "Ċ"), ("Ġ", "Ġ"), (".", "Ċ"), ("Ġ", "a")]  # across the borders of turns and tags
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]
    core = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges))
    # As Qwen and Llama 3: line breaks are a piece of their own, whatever follows.
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    core.decoder = decoders.ByteLevel()
    return core


def _pieces() -> Tokenizer:
    """Return a tokenizer as Llama 2's: spaces are `▁`, texts begin with one, control tokens stand in the vocabulary."""
    letters = [*map(chr, range(33, 127)), "▁", "\n", "é"]
    merges = [("▁", "a"), ("▁", "[")]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    pieces += [left + right for left, right in merges]
    model = models.BPE(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=merges,
        unk_token="<unk>",
        byte_fallback=True,
        fuse_unk=True,
    )
    core = Tokenizer(model)
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return core
