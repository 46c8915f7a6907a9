"""CUDA graphs of the simulated card: operations that are recorded, and repeated later.

As on a real card, what is recorded is not computed: at the end of a capture all memory that it
wrote to is as before. A repetition reads and writes the same memory. What cannot be captured is
refused: waiting for the device, and copies from and to the host.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor

from cryodrgn.data import prefetch
from simulated_card import Card, CardTensor, Stream, computed, leaves_of


class Graph:
    """A captured step."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.replays = 0

    def pool(self) -> int:
        return id(self)

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, results in self.operations:
            found = tensors(func(*args, **kwargs))
            for kept, new in zip(results, found, strict=True):
                if kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


def tensors(nested: Any) -> list[Tensor]:
    return [leaf for leaf in leaves_of(nested) if isinstance(leaf, Tensor)]


class Recording:
    """Remembers operations, and what the memory they write to held before."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        written = [a for a in func._schema.arguments if a.alias_info and a.alias_info.is_write]
        for argument in written:
            place = func._schema.arguments.index(argument)
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            for tensor in tensors(value):
                whole = tensor.new_empty(0).set_(tensor.untyped_storage())
                if tensor.data_ptr() and whole.data_ptr() not in self._before:
                    self._before[whole.data_ptr()] = whole, whole.clone()
        result = func(*args, **kwargs)
        self.graph.operations.append((func, args, kwargs, tensors(result)))
        return result

    def undo(self) -> None:
        for whole, before in self._before.values():
            whole.copy_(before)


@contextlib.contextmanager
def capture(graph: Graph, **_: Any) -> Iterator[None]:
    card = Card.current
    assert card is not None
    recording = Recording(graph)
    card.run = recording.run
    try:
        with card.forbidding():
            yield
    finally:
        card.run = computed
        recording.undo()


class AtOnce:
    """A thread that is done before it is left."""

    def __init__(self, **_: Any) -> None:
        self.calls = 0

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        self.calls += 1
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done

    def shutdown(self, **_: Any) -> None:
        """Nothing is left to do."""


def with_graphs(monkeypatch: Any) -> list[Graph]:
    """Let the simulated card have graphs and streams; the graphs made, a list that grows."""
    made: list[Graph] = []

    def new() -> Graph:
        made.append(Graph())
        return made[-1]

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(CardTensor, "record_stream", lambda self, stream: None, raising=False)
    monkeypatch.setattr(prefetch, "ThreadPoolExecutor", AtOnce)
    return made
