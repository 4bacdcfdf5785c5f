"""What `swift doctor` finds on this machine, and what it says of things that are not there."""

from __future__ import annotations

import os

import pytest
import torch

from swift.core import doctor
from swift.core.catalog import PROVIDERS
from swift.core.doctor import Finding, diagnose, render
from swift.core.registry import engines


@pytest.fixture(scope="module")
def findings() -> dict[tuple[str, str], Finding]:
    return {(finding.area, finding.name): finding for finding in diagnose()}


def test_packages_with_their_versions(findings: dict[tuple[str, str], Finding]) -> None:
    assert findings["packages", "torch"].detail == torch.__version__.partition("+")[0]
    ours = [f"swift-{name}" for name in doctor.OURS]
    assert len(ours) == 7
    assert all(findings["packages", name].ok for name in ours)


def test_devices(findings: dict[tuple[str, str], Finding]) -> None:
    assert f"{len(os.sched_getaffinity(0))} cores" in findings["devices", "cpu"].detail
    has_gpu = torch.cuda.is_available()
    assert (("devices", "cuda") in findings) is not has_gpu
    assert (("devices", "cuda:0") in findings) is has_gpu


def test_every_component_of_the_suite_is_reported(findings: dict[tuple[str, str], Finding]) -> None:
    for kind, area in (
        ("objective", "objectives"),
        ("tuner", "tuners"),
        ("strategy", "strategies"),
        ("engine", "engines"),
    ):
        for name in PROVIDERS[kind]:
            assert findings[area, name].ok, name
            assert findings[area, name].detail


def test_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OPTIONAL", {"no-such-library": "pip install it"})
    missing = [finding for finding in diagnose() if not finding.ok]
    assert Finding("optional", "no-such-library", False, "not installed", "pip install it") in missing


def test_component_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_offered", {})
    monkeypatch.setattr(engines, "_registered", {})
    found = {finding.name: finding for finding in diagnose() if finding.area == "engines"}
    assert found["transformers"] == Finding(
        "engines", "transformers", False, "not installed", "pip install swift-infer"
    )


def test_component_that_cannot_be_loaded_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    broken = EntryPoint("broken", "no_such_module:engine", "swift.engines")
    monkeypatch.setattr(engines, "_offered", {**engines._offered, "broken": broken})
    found = {finding.name: finding for finding in diagnose() if finding.area == "engines"}
    assert not found["broken"].ok
    assert "no_such_module" in found["broken"].detail
    assert found["transformers"].ok


def test_page(findings: dict[tuple[str, str], Finding]) -> None:
    page = render(
        [Finding("a", "one", True, "1.0", "never shown"), Finding("b", "two", False, "gone", "get it")]
    )
    assert page.splitlines() == [
        "a",
        "  ok       one              1.0",
        "",
        "b",
        "  missing  two              gone  -> get it",
    ]
