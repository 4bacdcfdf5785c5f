"""Plugins that need not be trusted: each file in a process of its own that can reach next to nothing.

Files are kept from it by Landlock, sockets, processes and signals by seccomp, memory and disk by rlimits. It
starts with a clean environment and speaks with the run through one socket and shared memory.
"""

from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.load import load_sandboxed
from swift.plugin.sandbox.offers import Offer
from swift.plugin.sandbox.require import require_sandbox

__all__ = ["Offer", "SandboxLimits", "load_sandboxed", "require_sandbox"]
