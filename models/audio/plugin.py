"""What vLLM calls in every process that makes an engine (entry point `vllm.general_plugins`)."""

from __future__ import annotations

ARCHITECTURES = ("StepAudio2ForCausalLM", "StepAudioFlatForCausalLM")


def register() -> None:
    """Makes the architecture known to transformers and to vLLM, whose model class is imported when first used.
    Idempotent."""
    from vllm import ModelRegistry

    from models import audio

    audio.register()
    for name in ARCHITECTURES:
        if name not in ModelRegistry.get_supported_archs():
            ModelRegistry.register_model(name, "models.audio.vllm_plugin:StepAudioEngine")
