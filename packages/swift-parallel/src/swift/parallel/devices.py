"""How many GPUs there are, asked of the driver: the launcher never loads torch."""

from __future__ import annotations

import ctypes

from swift.core.errors import ConfigError

DRIVER = "libcuda.so.1"


def visible_gpus() -> int:
    """GPUs that CUDA_VISIBLE_DEVICES leaves to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def process_count(requested: int | None, device: str, gpus: int) -> int:
    """Training processes on this machine: one a GPU, or as many as requested where ranks run on CPU.

    Args:
        requested: device.num_gpus; None is every GPU, or one process where there is none.
        device: device.device ("auto", "cpu", "cuda").
        gpus: visible GPUs.

    Raises:
        ConfigError: more processes than GPUs, or GPUs are asked for where there are none.
    """
    if device == "cuda" and gpus == 0:
        raise ConfigError(
            "device.device is 'cuda', but this machine shows no GPU", "set device.device=cpu or auto"
        )
    if device == "cpu" or gpus == 0:
        return requested or 1
    if requested is not None and requested > gpus:
        raise ConfigError(
            f"device.num_gpus is {requested}, but this machine shows {gpus} GPU{'s' if gpus > 1 else ''}",
            f"set device.num_gpus to at most {gpus}, or device.device=cpu for {requested} CPU processes",
        )
    return requested or gpus
