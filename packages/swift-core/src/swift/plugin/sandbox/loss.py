"""A loss that is computed, with its gradient, in a plugin's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from swift.core.errors import SandboxError
from swift.plugin.sandbox.contents import COPY, DROP, KEEP, Place, pack, signature
from swift.plugin.sandbox.frames import Message
from swift.plugin.sandbox.offers import LOSS_EXTRAS
from swift.plugin.sandbox.placement import Plan
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

    def empty_inputs(self, dtype: torch.dtype, shape: Sequence[int]) -> torch.Tensor:
        """Memory for inputs that a call then need not copy: [N, V] in shared memory, not initialised.

        Raises:
            SandboxError: the process is gone, or has no memory for it.
        """
        made: list[torch.Tensor] = []

        def act(running: Running) -> Message:
            _, slot = running.placement.slot(dtype, shape)
            made.append(slot.lease(dtype, shape))
            return {}

        self.process.run(act, self._name)
        return made.pop()

    def evaluate(
        self, inputs: torch.Tensor, given: Message, wanted: bool
    ) -> tuple[torch.Tensor, Gradient | None]:
        """The loss, and where wanted what gives the gradient of the inputs."""
        values: list[torch.Tensor] = []
        gradients: list[Gradient] = []

        def act(running: Running) -> Message:
            self._forget(running)
            # The slot first: to make it may end what lies in another one.
            slot = running.placement.slot(inputs.dtype, inputs.shape) if wanted else None
            plan = self._plan(running, inputs, given, slot[0] if slot else None)
            answer = running.request(plan.body, self.process.limits.timeout)
            if answer.get("items") is True:
                view = running.placement.view(plan.room, self._dtype(answer), inputs.shape[:1])
                values.append(view.to(inputs.device, copy=True))
                if wanted:
                    lies = plan.copies[0] is None
                    gradients.append(_ItemGradient(self, inputs, running.number, lies))
            elif slot and "error" not in answer:
                gradients.append(_ScalarGradient(slot[1].lease(inputs.dtype, inputs.shape), inputs.device))
            return answer

        answer = self.process.run(act, self._name)
        self._by_item = bool(values)
        if not values:
            value = number(self.process, self._name, answer.get("value"))
            values.append(torch.scalar_tensor(value, dtype=self._dtype(answer), device=inputs.device))
        return values[0], gradients[0] if wanted else None

    def backward_items(self, inputs: torch.Tensor, call: int, weight: torch.Tensor) -> torch.Tensor:
        """Gradient of the inputs for a gradient [N] of the values by item that a call gave."""
        gradients: list[torch.Tensor] = []

        def act(running: Running) -> Message:
            place, slot = running.placement.slot(inputs.dtype, inputs.shape)

            def write(places: list[Place], _: Place) -> Message:
                return {"op": "backward", "call": call, "weight": places[0], "gradient": place}

            plan = running.placement.put(call, [weight], write)
            answer = running.request(plan.body, self.process.limits.timeout)
            gradients.append(slot.lease(inputs.dtype, inputs.shape))
            return answer

        self.process.run(act, f"backward of {self._name}")
        return gradients.pop().to(inputs.device)

    def forget(self, call: int) -> None:
        """Let the plugin's side drop a graph whose backward will not come."""
        self._forgotten.append(call)

    def _forget(self, running: Running) -> None:
        if self._forgotten:
            calls, self._forgotten = self._forgotten, []
            running.request({"op": "forget", "calls": calls}, self.process.limits.timeout)

    def _plan(self, running: Running, inputs: torch.Tensor, given: Message, gradient: Place | None) -> Plan:
        device = inputs.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        drop = gradient is None or self._by_item is False
        tensors = [inputs]
        told = signature(given, tensors)

        def write(places: list[Place], room: Place) -> Message:
            following = iter(places)
            return {
                "op": "loss",
                "id": self._part,
                "inputs": next(following),
                "given": pack(given, following),
                "items": room,
                "gradient": gradient,
                "graph": DROP if drop else COPY if running.placement.lying(inputs) is None else KEEP,
                "autocast": None if autocast is None else str(autocast).removeprefix("torch."),
            }

        key = (self._part, inputs.dtype, inputs.shape, told, gradient and gradient[0], drop, autocast)
        further = inputs.shape[0] * _WIDEST if inputs.dim() else 0
        return running.placement.put(key, tensors, write, further)

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
    """A gradient that the plugin computes once the weights of the items are known.

    Args:
        call: the number of the one that gave the values.
        lies: the plugin's side uses the inputs where they lie; they must stay there, and as they are.
    """

    def __init__(self, loss: SandboxedLoss, inputs: torch.Tensor, call: int, lies: bool) -> None:
        self._loss = loss
        self._inputs = inputs.detach()
        self._version = self._inputs._version if lies else None
        self._call = call
        self._used = False

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        if self._used:
            raise _twice()
        self._used = True
        if self._version not in (None, self._inputs._version):
            raise SandboxError(
                "the inputs of a sandboxed loss were changed in place before its backward()",
                "change a copy of them",
            )
        return self._loss.backward_items(self._inputs, self._call, weight)

    def __del__(self) -> None:
        if not self._used:
            self._loss.forget(self._call)


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
