"""Distributed data parallel: every rank computes the gradient of its share, and all ranks use the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.core.config.schema import DeviceConfig
from swift.core.protocols import Strategy
from swift.parallel.ddp.config import DdpConfig
from swift.parallel.devices import process_count, visible_gpus
from swift.parallel.launch.supervise import launch_ranks


class DdpStrategy(Strategy):
    """One process per GPU, or per requested rank on CPU, each with the whole model.

    Raises:
        ConfigError: more processes than GPUs, or GPUs are asked for where there are none.
    """

    def __init__(self, config: DdpConfig, device: DeviceConfig) -> None:
        self.config = config
        gpus = visible_gpus()
        self._world_size = process_count(config.num_gpus, device.device, gpus)
        self._on_gpu = device.device != "cpu" and gpus > 0

    @property
    def world_size(self) -> int:
        """Number of training processes."""
        return self._world_size

    def training_arguments(self) -> dict[str, Any]:
        """How transformers.Trainer joins the ranks: NCCL between GPUs, gloo between CPU processes."""
        return {
            "ddp_backend": "nccl" if self._on_gpu else "gloo",
            "ddp_timeout": self.config.ddp_timeout,
            "ddp_find_unused_parameters": self.config.ddp_find_unused_parameters,
        }

    def launch(self, worker: Sequence[str]) -> int:
        """Run the worker once per rank on this machine; see launch_ranks()."""
        return launch_ranks(worker, self._world_size)
