"""Saving and restoring the state of an object that is no torch optimizer, as tensors and plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from swift.core.errors import PluginError

_PARAMETER = "swift.parameter"
_PLAIN = (str, bytes, int, float, bool, type(None), Tensor)


@dataclass(frozen=True)
class StateAccess:
    """A way to an object's state.

    The parameters themselves, which states often include, are held as their index: they are saved with the
    model, and the restored object has to update the model's own tensors.

    Attributes:
        channel: words for it.
        read: object -> state.
        write: (object, state) -> the object that holds it.
    """

    channel: str
    read: Callable[[Any], Any]
    write: Callable[[Any, Any], Any]

    def save(self, foreign: Any, parameters: Sequence[nn.Parameter]) -> Any:
        """State as containers of tensors and plain values.

        Raises:
            PluginError: it holds anything else, which a checkpoint cannot hold safely.
        """
        index = {id(parameter): place for place, parameter in enumerate(parameters)}
        return _without_parameters(self.read(foreign), index, type(foreign).__qualname__)

    def load(self, foreign: Any, state: Any, parameters: Sequence[nn.Parameter]) -> Any:
        """Restore what save() gave; the object to use from now on."""
        return self.write(foreign, _with_parameters(state, parameters))


def find_state_access(foreign: Any) -> StateAccess | None:
    """state_dict() and load_state_dict(), else __getstate__ and __setstate__, else None."""
    if callable(getattr(foreign, "state_dict", None)) and callable(getattr(foreign, "load_state_dict", None)):
        return StateAccess("state_dict()", lambda target: target.state_dict(), _load_state_dict)
    kind = type(foreign)
    # Every object has the __getstate__ of object since Python 3.11; it knows nothing of a C++ value.
    inherited: Any = object.__getstate__
    if getattr(kind, "__getstate__", None) is not inherited and hasattr(kind, "__setstate__"):
        return StateAccess("__getstate__()", lambda target: target.__getstate__(), _set_state)
    return None


def _load_state_dict(foreign: Any, state: Any) -> Any:
    foreign.load_state_dict(state)
    return foreign


def _set_state(foreign: Any, state: Any) -> Any:
    """A new object: to pybind11 __setstate__ is a constructor, and it ignores one on a living object."""
    kind: Any = type(foreign)
    made = kind.__new__(kind)
    made.__setstate__(state)
    return made


def _without_parameters(state: Any, index: Mapping[int, int], owner: str) -> Any:
    if id(state) in index:
        return {_PARAMETER: index[id(state)]}
    if isinstance(state, Mapping):
        return {key: _without_parameters(value, index, owner) for key, value in state.items()}
    if isinstance(state, list | tuple):
        made = [_without_parameters(value, index, owner) for value in state]
        return tuple(made) if isinstance(state, tuple) else made
    if not isinstance(state, _PLAIN):
        raise PluginError(
            f"the state of optimizer {owner} holds a {type(state).__qualname__}",
            "give tensors, numbers and strings only, in lists, tuples and dicts",
        )
    return state.clone() if isinstance(state, Tensor) else state


def _with_parameters(state: Any, parameters: Sequence[nn.Parameter]) -> Any:
    if isinstance(state, Mapping):
        if set(state) == {_PARAMETER}:
            return parameters[state[_PARAMETER]]
        return {key: _with_parameters(value, parameters) for key, value in state.items()}
    if isinstance(state, list | tuple):
        made = [_with_parameters(value, parameters) for value in state]
        return tuple(made) if isinstance(state, tuple) else made
    return state
