"""Native kernels of swift behind small typed functions, each with a Python reference of equal result."""

from swift.kernels._implementation import Implementation, native_available
from swift.kernels.pack import Packing, pack

__all__ = ["Implementation", "Packing", "native_available", "pack"]
