"""Models that listen, for transformers and vLLM: StepFun's Step-Audio architecture, and a composed one of any decoder."""

from __future__ import annotations


def register() -> None:
    """Make the architectures known to transformers' Auto classes. Idempotent."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from models.audio import config, modeling

    AutoConfig.register(config.StepAudioEncoderConfig.model_type, config.StepAudioEncoderConfig, exist_ok=True)
    for model in (
        modeling.StepAudio2ForCausalLM,
        modeling.StepAudioFlatForCausalLM,
        modeling.GroundtoneAudioForCausalLM,
    ):
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModelForCausalLM.register(model.config_class, model, exist_ok=True)
