"""The list of like layers that a model's trunk is made of, found without knowing the architecture."""

from __future__ import annotations

from torch import nn

from swift.core.errors import ModelError, did_you_mean


def decoder_layers(model: nn.Module, path: str | None = None) -> tuple[str, nn.ModuleList]:
    """Path and list of the layers, from the one after the embeddings to the last.

    A transformers model says how many layers its text trunk has; the list of that length is taken, the
    trunk's own if a vision tower has as many. Of other modules the longest list of like modules is taken.
    Lists inside a layer (of experts) never count.

    Args:
        path: of the list in the model, such as "model.layers"; default: found as above.

    Raises:
        ModelError: there is none there.
    """
    lists = _outer_lists(model)
    if path is not None:
        if path not in lists:
            raise ModelError(
                f"{type(model).__name__} has no list of layers at {path!r}", did_you_mean(path, lists)
            )
        return path, lists[path]
    depth = depth_of(model)
    if depth is None:
        fitting = {
            name: layers for name, layers in lists.items() if len({type(layer) for layer in layers}) == 1
        }
    else:
        fitting = {name: layers for name, layers in lists.items() if len(layers) == depth}
    if not fitting:
        raise ModelError(
            f"{type(model).__name__} has no list of layers" + (f" of length {depth}" if depth else ""),
            f"lists there are: {_described(lists)}",
        )
    inner = _trunk_modules(model)
    own = {name: layers for name, layers in fitting.items() if id(layers) in inner} or fitting
    name = max(own, key=lambda each: len(own[each]))
    return name, own[name]


def depth_of(model: nn.Module) -> int | None:
    """How many layers a transformers model's configuration says that its text trunk has."""
    config = getattr(model, "config", None)
    read = getattr(config, "get_text_config", None)
    depth = getattr(read(), "num_hidden_layers", None) if read is not None else None
    return depth if isinstance(depth, int) else None


def _outer_lists(model: nn.Module) -> dict[str, nn.ModuleList]:
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) > 0 and not inside:
            lists[name] = module
    return lists


def _trunk_modules(model: nn.Module) -> set[int]:
    """Identities of all modules below what transformers calls the decoder."""
    find = getattr(model, "get_decoder", None)
    trunk = find() if find is not None else None
    return {id(module) for module in trunk.modules()} if isinstance(trunk, nn.Module) else set()


def _described(lists: dict[str, nn.ModuleList]) -> str:
    return ", ".join(f"{name} ({len(layers)})" for name, layers in lists.items()) or "none"
