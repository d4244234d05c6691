"""Registration of the models that listen in vLLM, by the entry point `vllm.general_plugins`."""

from __future__ import annotations

ENGINES = {
    "StepAudio2ForCausalLM": "StepAudioEngine",
    "StepAudioFlatForCausalLM": "StepAudioEngine",
    "GroundtoneAudioForCausalLM": "GroundtoneAudioEngine",
}
"""Architecture in config.json → our class for vLLM."""


def register() -> None:
    """Make the architectures known to transformers and vLLM. vLLM calls this in every process of an engine. Idempotent."""
    from vllm import ModelRegistry

    from models import audio

    audio.register()
    for name, engine in ENGINES.items():
        if name not in ModelRegistry.get_supported_archs():
            # By name: the class is imported only when such a model is loaded.
            ModelRegistry.register_model(name, f"models.audio.vllm_plugin:{engine}")
