"""A trainer's rank whose module may have a LoRA adapter, which then trains in place of all weights (see `models.lora`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rl.workers.optimizer import OptimizerConfig
from rl.workers.trainer import TrainerWorker
from rl.workers.trainer_config import TrainerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from models.lora import LoraConfig
    from models.settings import ModelConfig


class AdapterWorker(TrainerWorker):
    """Base of the ranks of policy and critic."""

    lora: LoraConfig | None = None
    """Adapter that trains in place of all weights; None where they all do."""

    def load(
        self, path: str, config: ModelConfig, trainer: TrainerConfig, optimizer: OptimizerConfig, base: str = ""
    ) -> None:
        """Build the DeepSpeed engine anew as `TrainerWorker.load` does. Collective."""
        self.lora = config.lora
        super().load(path, config, trainer, optimizer, base)

    def merged_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, whole parameter) of the model as it is without adapters, theirs added to its matrices. Collective."""
        from models.lora import merged_parameters

        parameters = self._named_parameters()
        return merged_parameters(parameters, self.lora.scale) if self.lora else parameters

    def trained_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, whole parameter) of what trains. Collective."""
        from models.lora import trained_names

        return self._named_parameters(trained_names(self.deepspeed.module).__contains__)
