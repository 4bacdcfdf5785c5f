"""Native kernels of swift behind small typed functions, each with a Python reference of equal result."""

from swift.kernels._implementation import Implementation, native_available
from swift.kernels.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_and_entropy
from swift.kernels.pack import Packing, pack
from swift.kernels.paged_attention import paged_attention
from swift.kernels.skinny_linear import skinny_linear

__all__ = [
    "Implementation",
    "Packing",
    "linear_cross_entropy",
    "linear_cross_entropy_and_entropy",
    "native_available",
    "pack",
    "paged_attention",
    "skinny_linear",
]
