"""Runs models that listen in vLLM; every engine process finds them through the entry point `vllm.general_plugins`.

A prompt has one `<audio_patch>` for each clip. It is expanded here, once, to as many as `features.tokens` says, and the
request's output has the expanded ids. Encoder and adapter are the same modules as in the trainer, so that both compute
alike.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BatchFeature
from vllm.config import VllmConfig
from vllm.config.multimodal import BaseDummyOptions
from vllm.inputs import MultiModalDataDict
from vllm.model_executor.models.interfaces import MultiModalEmbeddings, SupportsLoRA, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import AutoWeightsLoader, WeightsMapper, init_vllm_registered_model, maybe_prefix
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import AudioProcessorItems, MultiModalDataItems, MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)
from vllm.sequence import IntermediateTensors

from models.audio import features
from models.audio.modeling import Adapter, Encoder, adapt, join_pieces
from models.tokenizer import AUDIO
from rl.audio import SAMPLE_RATE

LONGEST_S = 600
"""Longest clip, in seconds, for which the engine plans its memory."""


class ProcessingInfo(BaseProcessingInfo):
    """Answers to vLLM's questions about the model's audio."""

    @property
    def audio_config(self) -> Any:  # a StepAudioEncoderConfig; the field may also be a dict until it is read
        """Config of encoder and adapter."""
        return self.get_hf_config().audio_encoder_config

    def get_data_parser(self) -> MultiModalDataParser:
        """Return a parser that makes clips mono at 16 kHz."""
        return MultiModalDataParser(target_sr=SAMPLE_RATE, target_channels=1)

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Return the most clips of a prompt, by kind: None, which stands for any number."""
        return {"audio": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int] | None = None) -> Mapping[str, int]:
        """Return the most tokens of one clip."""
        return {"audio": features.tokens(self.longest_samples(seq_len), self.audio_config)}

    def longest_samples(self, max_tokens: int) -> int:
        """Return the samples of the longest clip that takes at most `max_tokens`."""
        # By bisection: `features.tokens` has no simple inverse, since the chunks of a clip are rounded one by one.
        samples = range(1, LONGEST_S * SAMPLE_RATE)
        return max(1, bisect_right(samples, max_tokens, key=lambda s: features.tokens(s, self.audio_config)))


class DummyInputsBuilder(BaseDummyInputsBuilder[ProcessingInfo]):
    """Builder of the largest inputs, with which vLLM measures how much memory it needs."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """Return the text of a prompt with as many clips as `mm_counts` says."""
        return AUDIO * mm_counts.get("audio", 0)

    def get_dummy_mm_data(
        self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, BaseDummyOptions]
    ) -> MultiModalDataDict:
        """Return as many clips as `mm_counts` says, each of the greatest length."""
        count = mm_counts.get("audio", 0)
        overrides: Any = mm_options.get("audio")
        length = self.info.longest_samples(seq_len)
        return {"audio": self._get_dummy_audios(length=length, num_audios=count, overrides=overrides)}


class MultiModalProcessor(BaseMultiModalProcessor[ProcessingInfo]):
    """Processor of clips into the model's inputs: `mels` [frames of all chunks of all clips, n_mels], the number of
    `frames` of each chunk, and the number of `chunks` of each clip."""

    def _apply_hf_processor_main(
        self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        waves = mm_items.get_items("audio", AudioProcessorItems) if mm_items.get_all_counts().get("audio") else []
        clips = [features.mels(waves.get(i), self.info.audio_config) for i in range(len(waves))]
        if not clips:
            return BatchFeature({})
        mels = [mel for clip in clips for mel in clip]
        frames, chunks = torch.tensor([len(mel) for mel in mels]), torch.tensor([len(clip) for clip in clips])
        return BatchFeature({"mels": torch.cat(mels), "frames": frames, "chunks": chunks})

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        chunks = hf_inputs.get("chunks", torch.empty(0, dtype=torch.long))
        frames = hf_inputs.get("frames", torch.empty(0, dtype=torch.long))
        # vLLM takes the flat `mels` apart clip by clip: it has to be told the frames of all chunks of each.
        clip_frames = torch.tensor([int(piece.sum()) for piece in frames.split(chunks.tolist())], dtype=torch.long)
        # The counts stay on the CPU: `embed_multimodal` reads them as numbers, and on a GPU that would wait for it.
        return {
            "mels": MultiModalFieldConfig.flat_from_sizes("audio", clip_frames),
            "frames": MultiModalFieldConfig.flat_from_sizes("audio", chunks, keep_on_cpu=True),
            "chunks": MultiModalFieldConfig.batched("audio", keep_on_cpu=True),
        }

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        patch = self.info.get_hf_config().audio_token_id

        def expand(i: int) -> list[int]:
            samples = mm_items.get_items("audio", AudioProcessorItems).get_audio_length(i)
            return [patch] * features.tokens(samples, self.info.audio_config)

        return [PromptReplacement(modality="audio", target=[patch], replacement=expand)]


@MULTIMODAL_REGISTRY.register_processor(MultiModalProcessor, info=ProcessingInfo, dummy_inputs=DummyInputsBuilder)
class GroundtoneAudioEngine(nn.Module, SupportsMultiModal, SupportsLoRA, SupportsPP):
    """A composed model as vLLM runs it: the trainer's encoder and adapter, vLLM's own class of the decoder, which may take LoRA
    adapters."""

    hf_to_vllm_mapper = WeightsMapper()  # our names are vLLM's

    def get_mm_mapping(self) -> MultiModelKeys:
        """Return the names of the decoder, which alone takes LoRA adapters, and of the audio parts."""
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector="adapter.", tower_model="encoder."
        )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """Return the text that stands for a clip."""
        if modality.startswith("audio"):
            return AUDIO
        raise ValueError(f"this model takes audio and text, no {modality}")

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        self.config: Any = vllm_config.model_config.hf_config
        with self._mark_tower_model(vllm_config, "audio"):
            self.encoder = Encoder(self.config.audio_encoder_config)
            self.adapter = Adapter(self.config.audio_encoder_config, self.config.text_config.hidden_size)
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                hf_config=self.config.text_config,
                prefix=maybe_prefix(prefix, "language_model"),
                architectures=self.config.text_config.architectures,
            )
        # Names of the matrices that the decoder fuses: vLLM fuses the parts of a LoRA adapter in the same way.
        self.packed_modules_mapping = getattr(self.language_model, "packed_modules_mapping", {})
        # Of the decoder alone: with pipeline parallelism what passes between the stages is its hidden states.
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors

    def embed_multimodal(self, **kwargs: Any) -> MultiModalEmbeddings:
        """Return embeddings [K, H] of each clip."""
        if kwargs.get("mels") is None:
            return []
        mels, frames, chunks = (_flatten(kwargs[name]) for name in ("mels", "frames", "chunks"))
        chunk_features = self.encoder(mels.split(frames.tolist()))
        clips = join_pieces(chunk_features, chunks.tolist())
        return tuple(adapt(self.adapter, self.config.audio_encoder_config, clips))

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: IntermediateTensors | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: object,
    ) -> Tensor | IntermediateTensors:
        """Return the decoder's hidden states."""
        # With pipeline parallelism only the first stage is given embeddings.
        embeds = None if intermediate_tensors is not None else inputs_embeds
        return self.language_model(input_ids, positions, intermediate_tensors, inputs_embeds=embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Return the logits of hidden states."""
        return self.language_model.compute_logits(hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load weights by the trainer's names; return the names of the parameters they went to."""
        return AutoWeightsLoader(self).load_weights(weights, mapper=self.hf_to_vllm_mapper)


@MULTIMODAL_REGISTRY.register_processor(MultiModalProcessor, info=ProcessingInfo, dummy_inputs=DummyInputsBuilder)
class StepAudioEngine(GroundtoneAudioEngine):
    """Step-Audio's model, which is the same under other names."""

    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={"model.": "language_model.model.", "lm_head.": "language_model.lm_head."}
    )


def _flatten(field: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a field of all clips as one tensor: vLLM hands it over so, or clip by clip."""
    return field if isinstance(field, Tensor) else torch.cat(list(field))
