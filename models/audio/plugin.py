"""Registration of the Step-Audio architecture in vLLM, by the entry point `vllm.general_plugins`."""

from __future__ import annotations

ARCHITECTURES = ("StepAudio2ForCausalLM", "StepAudioFlatForCausalLM")


def register() -> None:
    """Make the architecture known to transformers and vLLM. vLLM calls this in every process of an engine. Idempotent."""
    from vllm import ModelRegistry

    from models import audio

    audio.register()
    for name in ARCHITECTURES:
        if name not in ModelRegistry.get_supported_archs():
            # By name: the class is imported only when such a model is loaded.
            ModelRegistry.register_model(name, "models.audio.vllm_plugin:StepAudioEngine")
