# What csrc/bind.cpp registers; tests/kernels/test_native.py compares the two.
import numpy as np
import numpy.typing as npt

def pack(
    lengths: npt.NDArray[np.int64], capacity: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
def softmax_tile(
    tile: tuple[int, bool, int, int, int, int],
    state: tuple[int, int, int, int, int, int, int],
    scaling: tuple[float, float, float],
    threads: int,
) -> None: ...
def softmax_gradient_tile(
    tile: tuple[int, bool, int, int, int, int],
    log_total: int,
    row_gradient: int,
    scaling: tuple[float, float, float],
    threads: int,
) -> None: ...
def skinny_linear(
    addresses: tuple[int, int, int, int], shape: tuple[int, int, int], threads: int
) -> None: ...
def paged_attention(
    rows: tuple[int, int, int, int],
    pages: tuple[int, int, int, int],
    shape: tuple[int, int, int, int, int, int, int, int],
    scale: float,
    threads: int,
) -> None: ...
def instruction_set() -> str: ...
