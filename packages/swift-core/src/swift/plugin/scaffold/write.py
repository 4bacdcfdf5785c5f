"""Writing the files of a new plugin from the templates beside this module."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from swift.core.errors import ConfigError, did_you_mean
from swift.plugin.contract.kinds import CONTRACTS
from swift.plugin.scaffold.names import check_name, class_name

NATIVE_KINDS = ("loss", "metric", "optimizer", "reward")
"""Kinds with a template in C++."""

KINDS = tuple(sorted(CONTRACTS))


def write_plugin(kind: str, name: str, directory: Path, *, native: bool = False) -> list[Path]:
    """Write a working module and its test.

    Args:
        kind: as in the registry; underscores and hyphens stand for spaces.
        name: of the part, its module and its function or class.
        directory: made where it does not exist.
        native: the work is done in C++.

    Returns:
        The files, those that plugins: lists first.

    Raises:
        ConfigError: an unknown kind, a kind without a template in C++, a bad name, or a file that exists.
        RegistryError: the name is taken.
    """
    kind = kind.replace("_", " ").replace("-", " ")
    if kind not in CONTRACTS:
        raise ConfigError(f"there is no kind {kind!r}", did_you_mean(kind, KINDS))
    if native and kind not in NATIVE_KINDS:
        raise ConfigError(
            f"there is no template of {CONTRACTS[kind].noun} in C++",
            f"kinds with one: {', '.join(NATIVE_KINDS)}",
        )
    check_name(kind, name)
    texts = {directory / file: text for file, text in _rendered(kind, name, native).items()}
    existing = [str(path) for path in texts if path.exists()]
    if existing:
        raise ConfigError(
            f"{' and '.join(existing)} would be overwritten", "choose another name or --directory"
        )
    directory.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def yaml_lines(kind: str, name: str, paths: list[Path]) -> str:
    """How YAML names the new plugin."""
    plugins = [str(path) for path in paths if not path.name.startswith("test_")]
    setting = CONTRACTS[kind.replace("_", " ").replace("-", " ")].setting
    return f"plugins: [{', '.join(plugins)}]\n{setting.replace('NAME', name)}"


def _rendered(kind: str, name: str, native: bool) -> dict[str, str]:
    """File name -> text."""
    stem = kind.replace(" ", "_")
    templates = {f"{name}.py": f"{stem}.py.txt", f"test_{name}.py": f"test_{stem}.py.txt"}
    if native:
        templates = {f"{name}_cpp.cpp": f"{stem}.cpp.txt", **templates}
    folder = files("swift.plugin.scaffold") / "templates"
    if native:
        folder = folder / "cpp"
    return {
        file: _filled((folder / template).read_text(encoding="utf-8"), name)
        for file, template in templates.items()
    }


def _filled(text: str, name: str) -> str:
    return text.replace("PLUGIN_NAME", name).replace("PluginName", class_name(name))
