"""Whether a part can be called as its contract says, seen from its signature alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from swift.core.errors import PluginError
from swift.core.registry import Component
from swift.plugin.contract.fault import fault
from swift.plugin.contract.kinds import CONTRACTS, LOSS_EXTRAS, Contract

Parameters = dict[str, Parameter]
_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def check_signature(
    kind: str, component: Component, part: Any = None, config: Mapping[str, Any] | None = None
) -> None:
    """Refuse a part whose signature does not fit; code whose signature Python cannot see passes.

    Args:
        part: what was built of the component; without it, the class or factory is looked at.
        config: the arguments that it has or will have; None where they are not known yet.

    Raises:
        PluginError: names the place, the signature, the contract and the remedy.
    """
    contract = CONTRACTS.get(kind)
    if contract is None or component.trust == "sandboxed":
        return  # the sandbox checks inside, where the signature is
    target = component.load() if part is None else part
    if not callable(target) and contract.called and not _is_object(contract, target):
        raise fault(kind, component, f"is {target!r}, which cannot be called", _remedy(contract))
    if contract.called and not _is_object(contract, target):
        _check_called(contract, component, target, config)
    elif part is None and not contract.called:
        _check_factory(contract, component, target)
    if part is not None or inspect.isclass(target):
        _check_methods(contract, component, target)


def _is_object(contract: Contract, target: Any) -> bool:
    """Whether the methods are there that take the place of a call."""
    return bool(contract.instead) and all(callable(getattr(target, name, None)) for name in contract.instead)


def accepted_extras(part: Any, extras: tuple[str, ...] = LOSS_EXTRAS) -> tuple[str, ...]:
    """Which of the extras a part names as parameters; its attribute `accepts` goes before its signature."""
    declared = getattr(part, "accepts", None)
    if declared is None:
        declared = parameters_when_called(part) or ()
    return tuple(extra for extra in extras if extra in declared)


def parameters_when_called(target: Any) -> Parameters | None:
    """What a call of the part takes: of a class, of an object made of it. None where Python cannot tell."""
    if inspect.isclass(target):
        method = _own(target, "forward") or _own(target, "__call__")
        if method is None:
            return None
        found = _parameters(method)
        if found is None or isinstance(inspect.getattr_static(target, method.__name__), staticmethod):
            return found
        return dict(list(found.items())[1:])  # without self
    return _parameters(target.forward if callable(getattr(target, "forward", None)) else target)


def _own(cls: type, name: str) -> Any:
    """A method that the class or one of its bases defines, a metaclass's left aside."""
    return getattr(cls, name) if any(name in base.__dict__ for base in cls.__mro__) else None


def _parameters(function: Any) -> Parameters | None:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None


def _check_called(
    contract: Contract, component: Component, target: Any, config: Mapping[str, Any] | None
) -> None:
    if inspect.isclass(target) and _own(target, "forward") is None and _own(target, "__call__") is None:
        raise fault(
            contract.kind,
            component,
            "is a class without __call__ or forward",
            f"define def {(*contract.instead, '__call__')[0]}(self, ...)",
        )
    parameters = parameters_when_called(target)
    if parameters is None:
        return
    problem = _too_few(contract, parameters) or _too_many(contract, parameters, target, config)
    if contract.columns == "all" and not problem and not _takes(parameters, Parameter.VAR_KEYWORD):
        problem = "has no **columns, and every column of the data comes by name"
    if problem:
        raise _misfit(contract, component, parameters, problem)


def _too_few(contract: Contract, parameters: Parameters) -> str:
    by_position = [name for name, each in parameters.items() if each.kind in _BY_POSITION]
    missing = contract.called[len(by_position) :]
    if not missing or _takes(parameters, Parameter.VAR_POSITIONAL):
        return ""
    return f"has no place for {' and '.join(repr(name) for name in missing)}"


def _too_many(
    contract: Contract, parameters: Parameters, target: Any, config: Mapping[str, Any] | None
) -> str:
    """A further parameter without default that nobody fills. A function's may be among its arguments."""
    if config is None and inspect.isroutine(target) and not contract.columns:
        return ""
    known = {*contract.extras, *(config or {})}
    further = _further(contract, parameters)
    unfilled = [name for name in further if name not in known and further[name].default is Parameter.empty]
    if not unfilled or contract.columns:
        return ""
    return f"asks for {unfilled[0]!r}, which nothing gives it"


def _further(contract: Contract, parameters: Parameters) -> Parameters:
    by_position = [name for name, each in parameters.items() if each.kind in _BY_POSITION]
    own = {*by_position[: len(contract.called)]}
    return {
        name: each
        for name, each in parameters.items()
        if name not in own and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    }


def _check_factory(contract: Contract, component: Component, target: Any) -> None:
    """A class or factory has to take what the run hands over, by position and by name."""
    parameters = _parameters(target)
    if parameters is None:
        return
    by_position = [name for name, each in parameters.items() if each.kind in _BY_POSITION]
    missing = contract.built[len(by_position) :]
    problem = ""
    if missing and not _takes(parameters, Parameter.VAR_POSITIONAL):
        problem = f"has no place for {' and '.join(repr(name) for name in missing)}"
    elif not _takes(parameters, Parameter.VAR_KEYWORD):
        unknown = [name for name in contract.built_extras if name not in parameters]
        problem = f"does not take {unknown[0]!r}" if unknown else ""
    if problem:
        raise _misfit(contract, component, parameters, problem)


def _check_methods(contract: Contract, component: Component, target: Any) -> None:
    missing = [name for name in contract.methods if not callable(getattr(target, name, None))]
    if missing:
        what = f"class {target.__name__}" if inspect.isclass(target) else f"a {type(target).__name__}"
        raise fault(
            contract.kind,
            component,
            f"is {what} without {missing[0]}()",
            f"it needs {', '.join(contract.methods)}",
        )


def _takes(parameters: Parameters, sort: Any) -> bool:
    return any(each.kind is sort for each in parameters.values())


def _misfit(contract: Contract, component: Component, parameters: Parameters, problem: str) -> PluginError:
    signature = ", ".join(str(each) for each in parameters.values())
    return fault(
        contract.kind, component, f"has the signature ({signature}), which {problem}", _remedy(contract)
    )


def _remedy(contract: Contract) -> str:
    if not contract.called:
        words = [*contract.built, *contract.built_extras, "**config"]
        return f"write it as def NAME({', '.join(words)})"
    words = [*contract.called, *(["**columns"] if contract.columns == "all" else [])]
    more = ""
    if contract.extras:
        more = f"; further parameters may be {', '.join(contract.extras)}, or have defaults"
    return f"write it as def NAME({', '.join(words)}){more}"
