"""StepFun's Step-Audio architecture, for transformers and vLLM."""

from __future__ import annotations


def register() -> None:
    """Make the architecture known to transformers' Auto classes. Idempotent."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from models.audio.config import StepAudioConfig, StepAudioEncoderConfig, StepAudioFlatConfig
    from models.audio.modeling import StepAudio2ForCausalLM, StepAudioFlatForCausalLM

    for config in (StepAudioEncoderConfig, StepAudioConfig, StepAudioFlatConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForCausalLM.register(StepAudioConfig, StepAudio2ForCausalLM, exist_ok=True)
    AutoModelForCausalLM.register(StepAudioFlatConfig, StepAudioFlatForCausalLM, exist_ok=True)
