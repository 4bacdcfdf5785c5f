"""From a file to the parts that it offers, without running a line of it in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.errors import SandboxError
from swift.plugin.sandbox.forkserver import fork_server
from swift.plugin.sandbox.limits import SandboxLimits
from swift.plugin.sandbox.offers import SANDBOXED_KINDS, Offer, parse_offer
from swift.plugin.sandbox.require import require_sandbox

if TYPE_CHECKING:
    from swift.plugin.sandbox.process import SandboxProcess


def load_sandboxed(
    path: Path, limits: SandboxLimits | None = None, *, native: Mapping[str, Path] | None = None
) -> list[Offer]:
    """Start a plugin's process and ask what it registered.

    Args:
        path: a Python file, or a built native module (.so).
        native: built modules that the plugin imports, by name. They are loaded after the lock-down.

    Returns:
        What it registered, in order. All offers of a file share one process: `offer.target.process`.

    Raises:
        SandboxError: no sandbox on this machine; the plugin fails while it is loaded; or it registers a kind
            that cannot leave the run's process.
    """
    require_sandbox()
    fork_server().prepare()
    from swift.plugin.sandbox.process import SandboxProcess  # loads torch, as the zygote does meanwhile

    files = {name: file.resolve() for name, file in (native or {}).items()}
    process = SandboxProcess(path.resolve(), limits or SandboxLimits(), files)
    try:
        offers = [_parse(process, value, index) for index, value in enumerate(process.offers())]
        for offer in offers:
            _check_kind(process.path, offer)
    except BaseException:
        process.close()
        raise
    return offers


def _parse(process: SandboxProcess, value: Any, index: int) -> Offer:
    def make(number: int, told: Mapping[str, Any]) -> Callable[..., Any]:
        return Target(process, number, told["kind"], told["name"], told["accepts"])

    try:
        return parse_offer(value, make, index)
    except ValueError as error:
        raise process.broken("load", str(error)) from None


def _check_kind(path: Path, offer: Offer) -> None:
    if offer.kind not in SANDBOXED_KINDS:
        raise SandboxError(
            f"{path}:{offer.line}: {offer.kind} {offer.name!r} cannot be sandboxed, because it works on the "
            "run's own objects",
            f"set trust: trusted for this file if you trust it, or remove it; these can be: "
            f"{', '.join(SANDBOXED_KINDS)}",
        )


class Target:
    """Builds the proxy of one offer: `target(**config)`, whether it is a class or a function.

    Attributes:
        process: of the plugin.
    """

    def __init__(
        self, process: SandboxProcess, offer: int, kind: str, name: str, accepts: tuple[str, ...] | None
    ) -> None:
        self.process = process
        self._offer = offer
        self._kind = kind
        self._name = name
        self._accepts = accepts

    def __call__(self, **config: Any) -> Any:
        """The part; its arguments are checked on the plugin's side.

        Raises:
            SandboxError: it cannot be built.
        """
        from swift.plugin.sandbox.loss import SandboxedLoss
        from swift.plugin.sandbox.proxies import SandboxedFilter, SandboxedMetric, SandboxedReward

        classes: dict[str, Callable[..., Any]] = {
            "loss": SandboxedLoss,
            "metric": SandboxedMetric,
            "reward": SandboxedReward,
            "filter": SandboxedFilter,
        }
        described = f"{self._kind} {self._name!r}"
        part, told = self.process.build(self._offer, config, described)
        accepts = told.get("accepts", self._accepts)
        if accepts is not None and not all(isinstance(each, str) for each in accepts):
            raise self.process.broken(described, "names that are no text")
        return classes[self._kind](self.process, part, described, None if accepts is None else tuple(accepts))
