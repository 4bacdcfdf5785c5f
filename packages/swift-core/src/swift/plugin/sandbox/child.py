"""The plugin's process: import, lock down, and only then touch the plugin's code."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import random
import socket
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from swift.core.errors import SandboxError
from swift.plugin.sandbox.child_channel import ChildChannel
from swift.plugin.sandbox.frames import ChannelClosed
from swift.plugin.sandbox.landlock import restrict
from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.malloc import keep_freed_memory
from swift.plugin.sandbox.pages import map_libraries
from swift.plugin.sandbox.privileges import (
    apply_rlimits,
    drop_privileges,
    require_single_thread,
)
from swift.plugin.sandbox.readable import plugin_rules
from swift.plugin.sandbox.seccomp import install_filter
from swift.plugin.sandbox.serve import Server


def main(descriptor: int) -> None:
    """Serve one plugin until the run closes the channel.

    Args:
        descriptor: of the channel; the first message says what to serve and within which limits.
    """
    channel = ChildChannel(socket.socket(fileno=descriptor))
    _, given = channel.receive()
    limits = SandboxLimits(**given["limits"])
    native = {name: Path(file) for name, file in given["native"].items()}
    server = Server(channel, Path(given["path"]), native)
    map_libraries()
    settle(given["scratch"])
    try:
        abi = lock_down([server.path, *native.values()], Path(given["scratch"]), limits, descriptor)
    except (SandboxError, OSError) as error:
        channel.send(0, {"refused": str(error)})
        return
    channel.send(0, {"ready": abi})
    with contextlib.suppress(ChannelClosed):
        server.run()


def warm_up() -> None:
    """Do once, in the zygote, what loads files or takes long; and seed every generator."""
    faulthandler.enable()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # threads do not survive a fork
    inputs = torch.zeros(2, 2, requires_grad=True)
    torch.nn.functional.cross_entropy(inputs, torch.tensor([0, 1])).backward()  # type: ignore[no-untyped-call]
    keep_freed_memory()
    require_single_thread()


def settle(scratch: str) -> None:
    """Make the scratch folder the place where the plugin is and where it keeps files."""
    os.chdir(scratch)
    os.environ["HOME"] = os.environ["TMPDIR"] = scratch
    tempfile.tempdir = scratch  # finding one would remove files, which is not allowed


def lock_down(files: list[Path], scratch: Path, limits: SandboxLimits, channel: int) -> int:
    """Give up, for good, everything that a plugin has no need of.

    The order matters: Landlock restricts this thread and those that it starts, so torch's threads start after
    it; seccomp forbids starting threads, so it comes last.

    Returns:
        The version of Landlock in force.

    Raises:
        SandboxError, OSError: a part of it is not possible here.
    """
    require_single_thread()
    close_descriptors(keep={0, 1, 2, channel})
    apply_rlimits(limits)
    drop_privileges()
    abi = restrict(plugin_rules(files, scratch))
    start_threads(limits.threads)
    install_filter(channel)
    return abi


def close_descriptors(keep: set[int]) -> None:
    """Descriptors that imports left open would bypass Landlock."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 (numbers, no paths)
        if int(name) not in keep and Path("/proc/self/fd", name).exists():
            os.close(int(name))


def start_threads(count: int) -> None:
    """Make torch start its threads now."""
    torch.set_num_threads(count)
    torch.zeros(1 << 20).exp_()
    sys.stdout.flush()
