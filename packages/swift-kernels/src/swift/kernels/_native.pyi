# What csrc/bind.cpp registers; tests/kernels/test_native.py compares the two.
import numpy as np
import numpy.typing as npt

def pack(
    lengths: npt.NDArray[np.int64], capacity: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]: ...
