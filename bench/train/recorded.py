"""Functions of tensors that run as a bare list of torch operations.

In a small stack most of a step is neither arithmetic nor memory: `torch.func.vmap` and autograd find out, operation by operation and at
every step anew, what is to be done. It is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# They hand a number to Python, which may then go another way at another step.
LOOKS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default, torch.ops.aten.is_nonzero.default}
TOLERANCE = (
    1e-5  # of the greatest number, at the check: for rounding, which can differ with where tensors lie in memory
)


class Looked(Exception):
    """A function that is being recorded looks at a number."""


class Recorded:
    """`function`, which takes tensors and gives a list of tensors, recorded at a call and run as the operations that it came to from then on.

    What depends on more than its arguments cannot be recorded, and runs as it is: a function that looks at a number on the way, or one that
    gives something else than its recording at the next call.
    """

    WARM_UP = 16  # calls before it is recorded, which takes as long as some tens of them

    def __init__(self, function: Callable[..., list[Tensor]]):
        self.function, self.n_calls = function, 0
        self._recording: Callable[..., list[Tensor]] | None = None
        self._constants: list[Tensor] = []

    def __call__(self, *arguments: Tensor) -> list[Tensor]:
        self.n_calls += 1
        if self.n_calls == self.WARM_UP:
            return self._record(arguments)
        if self._recording is None:
            return self.function(*arguments)
        if self.n_calls == self.WARM_UP + 1:
            expected = self.function(*arguments)
            if not self._gives(expected, arguments):
                self._recording = None
            return expected
        return self._replay(arguments)

    @torch.no_grad()
    def _replay(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        assert self._recording is not None
        return self._recording(*arguments, *self._constants)

    def _gives(self, expected: Sequence[Tensor], arguments: Sequence[Tensor]) -> bool:
        try:
            return all(map(_is_close, self._replay(arguments), expected))
        except Exception:  # of tensors whose shapes are not those of the recording, say
            return False

    def _record(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        recorder = _Recorder(arguments)
        try:
            with recorder:
                results = self.function(*arguments)
            self._recording, self._constants = recorder.code(results), recorder.constants
        except Exception:
            # It looks at a number, or does what cannot be written down. If it fails on its own account, it fails here again.
            return self.function(*arguments)
        return results


def _is_close(found: Tensor, expected: Tensor) -> bool:
    size = expected.detach().abs().nan_to_num(0.0, 0.0).max() if expected.numel() else 0.0
    return torch.allclose(found, expected.detach(), rtol=TOLERANCE, atol=TOLERANCE * float(size), equal_nan=True)


class _Recorder(TorchDispatchMode):
    """Writes down every operation, below vmap and autograd. A tensor that comes neither from the arguments nor from another operation is a constant."""

    def __init__(self, arguments: Sequence[Tensor]):
        super().__init__()
        self.graph = torch.fx.Graph()
        self.constants: list[Tensor] = []
        self._nodes: dict[int, torch.fx.Node] = {}
        self._seen: list[Tensor] = []  # keeps them, so that no other tensor gets their number
        for place, argument in enumerate(arguments):
            self._last = self.graph.placeholder(f"argument_{place}")
            self._know(argument, self._last)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LOOKS:
            raise Looked
        kwargs = kwargs or {}
        nodes = pytree.tree_map_only(Tensor, self._node, (args, kwargs))
        results = func(*args, **kwargs)
        node = self.graph.call_function(func, *nodes)
        if isinstance(results, Tensor):
            self._know(results, node)
        else:
            for place, result in enumerate(results or ()):
                if isinstance(result, Tensor):
                    self._know(result, self.graph.call_function(_item, (node, place)))
        return results

    def code(self, results: Sequence[Tensor]) -> Callable[..., list[Tensor]]:
        """A function of the arguments and then the constants."""
        self.graph.output([self._node(result) for result in results])
        self.graph.eliminate_dead_code()
        return torch.fx.GraphModule({}, self.graph).forward

    def _know(self, value: Tensor, node: torch.fx.Node) -> None:
        self._nodes[id(value)] = node
        self._seen.append(value)

    def _node(self, value: Tensor) -> torch.fx.Node:
        if id(value) not in self._nodes:
            with self.graph.inserting_after(self._last):
                self._last = self.graph.placeholder(f"constant_{len(self.constants)}")
            self._know(value, self._last)
            self.constants.append(value)
        return self._nodes[id(value)]


def _item(values: Sequence[Tensor], place: int) -> Tensor:
    return values[place]
