"""A loss that is computed, with its gradient, in a plugin's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from swift.core.errors import SandboxError
from swift.plugin.sandbox.channel import Message
from swift.plugin.sandbox.contents import pack, tensors_in
from swift.plugin.sandbox.offers import LOSS_EXTRAS
from swift.plugin.sandbox.process import SandboxProcess
from swift.plugin.sandbox.proxies import number
from swift.plugin.sandbox.running import Running
from swift.plugin.sandbox.shared import DTYPES

Gradient = Callable[[torch.Tensor], torch.Tensor]
"""From a gradient of the loss to the gradient of its inputs; may be called once."""

_WIDEST = 8  # bytes of one value


class SandboxedLoss(nn.Module):
    """`(inputs, targets, **extras) -> scalar, or one value an item [N]`, as the plugin's own loss.

    A scalar loss and its gradient take one round trip; values by item take a second one in backward(). A
    result can be differentiated once. Tensors on other devices travel through the CPU. On its side the plugin
    sees inputs and targets as views of shared memory that the next call overwrites.

    Attributes:
        accepts: the extras that it takes.
        process: that holds it; restart() and close() are there.
    """

    def __init__(
        self, process: SandboxProcess, part: int, name: str, accepts: tuple[str, ...] | None
    ) -> None:
        super().__init__()
        self.process = process
        known = tuple(each for each in LOSS_EXTRAS if each != "model_outputs")
        self.accepts = known if accepts is None else accepts
        if "model_outputs" in self.accepts:
            raise SandboxError(
                f"sandboxed {name} asks for model_outputs, which stay in the run",
                "take inputs and batch instead, or set trust: trusted if you trust it",
            )
        self._part = part
        self._name = name
        self._by_item: bool | None = None  # not known before the first call
        self._tickets = 0
        self._forgotten: list[int] = []

    def forward(self, inputs: torch.Tensor, targets: Any, **extras: Any) -> torch.Tensor:
        """The loss.

        Raises:
            SandboxError: the plugin failed, was stopped, or broke the contract.
        """
        if isinstance(extras.get("batch"), Mapping):
            batch = extras["batch"].items()
            extras["batch"] = {key: each for key, each in batch if isinstance(each, torch.Tensor)}
        given = {"targets": targets, "extras": extras}
        if inputs.requires_grad and torch.is_grad_enabled():
            return _Differentiable.apply(inputs, self, given)  # type: ignore[no-any-return, no-untyped-call]
        return self.evaluate(inputs, given, wanted=False)[0]

    def evaluate(
        self, inputs: torch.Tensor, given: Message, wanted: bool
    ) -> tuple[torch.Tensor, Gradient | None]:
        """The loss, and where wanted what gives the gradient of the inputs."""
        values: list[torch.Tensor] = []
        gradients: list[torch.Tensor] = []

        def act(running: Running) -> Message:
            message = self._message(running, inputs, given)
            if wanted:
                message["gradient"], slot = running.placement.slot(inputs)
            answer = running.request(message, self.process.limits.timeout)
            if answer.get("items") is True:
                values.append(self._values(running, message, answer, inputs))
            elif wanted and "error" not in answer:
                gradients.append(slot.lease(inputs.dtype, inputs.shape, 0))
            return answer

        answer = self.process.run(act, self._name)
        self._by_item = bool(values)
        if values:
            return values[0], _ItemGradient(self, inputs, answer.get("ticket")) if wanted else None
        value = number(self.process, self._name, answer.get("value"))
        loss = torch.tensor(value, dtype=self._dtype(answer), device=inputs.device)
        return loss, _ScalarGradient(gradients.pop(), inputs.device) if wanted else None

    def backward_items(self, inputs: torch.Tensor, ticket: Any, weight: torch.Tensor) -> torch.Tensor:
        """Gradient of the inputs for a gradient [N] of the values by item."""
        gradients: list[torch.Tensor] = []

        def act(running: Running) -> Message:
            running.placement.begin([weight])
            message: Message = {"op": "backward", "ticket": ticket, "weight": running.placement.put(weight)}
            message["gradient"], slot = running.placement.slot(inputs)
            answer = running.request(message, self.process.limits.timeout)
            gradients.append(slot.lease(inputs.dtype, inputs.shape, 0))
            return answer

        self.process.run(act, f"backward of {self._name}")
        return gradients.pop().to(inputs.device)

    def forget(self, ticket: Any) -> None:
        """Let the plugin's side drop a graph whose backward will not come."""
        self._forgotten.append(ticket)

    def _message(self, running: Running, inputs: torch.Tensor, given: Message) -> Message:
        tensors = [inputs, *tensors_in(given)]
        placement = running.placement
        placement.begin(tensors, inputs.shape[0] * _WIDEST if inputs.dim() else 0)
        self._tickets += 1
        forgotten, self._forgotten = self._forgotten, []
        device = inputs.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return {
            "op": "loss",
            "id": self._part,
            "inputs": placement.put(inputs),
            **pack(given, placement.put),
            "items": placement.room(torch.float64, inputs.shape[:1]),
            "gradient": None,
            "keep": self._by_item is not False,  # a graph that outlives the call needs inputs of its own
            "ticket": self._tickets,
            "forget": forgotten,
            "autocast": None if autocast is None else str(autocast).removeprefix("torch."),
        }

    def _values(
        self, running: Running, message: Message, answer: Message, inputs: torch.Tensor
    ) -> torch.Tensor:
        place = running.placement.view(message["items"], self._dtype(answer), inputs.shape[:1])
        return place.to(inputs.device, copy=True)

    def _dtype(self, answer: Message) -> torch.dtype:
        dtype = DTYPES.get(str(answer.get("dtype")))
        if dtype is None or not dtype.is_floating_point:
            raise self.process.broken(self._name, "no floating-point dtype")
        return dtype


class _ScalarGradient:
    """A gradient that came with its loss: scaled where it lies, and handed over without a copy."""

    def __init__(self, gradient: torch.Tensor, device: torch.device) -> None:
        self._gradient: torch.Tensor | None = gradient
        self._device = device

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        gradient, self._gradient = self._gradient, None
        if gradient is None:
            raise _twice()
        gradient = gradient.to(self._device)
        if self._device.type == "cpu" and weight.item() == 1.0:
            return gradient
        return gradient.mul_(weight)


class _ItemGradient:
    """A gradient that the plugin computes once the weights of the items are known."""

    def __init__(self, loss: SandboxedLoss, inputs: torch.Tensor, ticket: Any) -> None:
        self._loss = loss
        self._inputs = inputs.detach()
        self._ticket = ticket
        self._used = False

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        if self._used:
            raise _twice()
        self._used = True
        return self._loss.backward_items(self._inputs, self._ticket, weight)

    def __del__(self) -> None:
        if not self._used:
            self._loss.forget(self._ticket)


def _twice() -> SandboxError:
    return SandboxError(
        "the result of a sandboxed loss was differentiated twice",
        "call the loss again for each backward(), or set trust: trusted",
    )


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, loss: SandboxedLoss, given: Message) -> torch.Tensor:
        value, ctx.gradient = loss.evaluate(inputs, given, wanted=True)
        return value

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, weight: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.gradient(weight), None, None
