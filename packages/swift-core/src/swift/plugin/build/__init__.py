"""From C++ and CUDA sources to modules that Python imports."""

from swift.plugin.build.folder import Built, build_folder
from swift.plugin.build.module import build_module, default_build_root
from swift.plugin.build.sources import module_name

__all__ = ["Built", "build_folder", "build_module", "default_build_root", "module_name"]
