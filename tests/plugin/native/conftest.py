"""Each C++ file is compiled once a session."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from swift.plugin.build import build_module, default_build_root
from swift.plugin.build.module import CACHE_VARIABLE

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "examples/plugins/cpp_optimizer"
SOURCES = (EXAMPLE / "custom_optimizer_lib.cpp", HERE / "optimizers.cpp")


@pytest.fixture(scope="session")
def build_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled modules of this session, or the one that the environment names."""
    return default_build_root() if CACHE_VARIABLE in os.environ else tmp_path_factory.mktemp("native")


@pytest.fixture(scope="session")
def compiled(build_root: Path) -> Path:
    """The cache, with the modules that use torch in it."""
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(lambda path: build_module([path], module_name=path.stem, build_root=build_root), SOURCES)
        )
    return build_root
