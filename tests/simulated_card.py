"""A graphics card that computes on the processor, for machines without one.

Tensors on it say that they are on ``cuda:0`` and hold their numbers in memory of the host, so
whole commands run with ``--device cuda`` and give real results. What a card refuses is refused
in its words: tensors of two devices in one operation, conversion to numpy, generators of the
processor, and a device without an index in :func:`torch.cuda.set_device`. What a card does
slowly is refused within :meth:`Card.forbidding`: waiting for the host or the device where
:func:`cryodrgn.devices.may_wait` does not say why, and double precision.

It knows of no kernels, streams or memory; ``tests/gpu`` asks a real card.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from cryodrgn import devices
from order_of_sums import require_order

CARD, HOST = torch.device("cuda:0"), torch.device("cpu")
aten = torch.ops.aten
# The size of a result depends on values, or an error is looked for before going on.
WAITING = {
    aten._local_scalar_dense,
    aten.bincount,
    aten.equal,
    aten.linalg_cholesky,
    aten.linalg_inv,
    aten.linalg_solve,
    aten.masked_select,
    aten.nonzero,
    aten._linalg_check_errors,
    aten._linalg_eigh,
    aten._linalg_svd,
    aten._unique,
    aten._unique2,
    aten.unique_consecutive,
    aten.unique_dim,
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# What autocast computes in a lower precision.
PRODUCTS = {
    torch.nn.functional.linear,
    torch.nn.functional.conv2d,
    torch.addmm,
    torch.baddbmm,
    torch.bmm,
    torch.einsum,
    torch.matmul,
    torch.mm,
    Tensor.__matmul__,
    Tensor.__rmatmul__,
    Tensor.matmul,
}
COPIES = {aten._to_copy, aten.copy_, aten.copy}
PINNING = {aten.is_pinned, aten._pin_memory}


class CardTensor(Tensor):
    """Numbers that say they are on the card.

    To the inside of PyTorch they are on the meta device, which it has without CUDA, too: what
    it makes by itself for a result, it asks for there.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "CardTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
        )
        made.held = held
        return made

    device = property(lambda self: CARD)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            if func is Tensor.to and isinstance(args[0], cls) and stays(*args, **kwargs):
                return args[0]
            if func is Tensor.tolist:
                return args[0].cpu().tolist()
            if func in (Tensor.__getitem__, Tensor.__setitem__):
                args = (args[0], with_tensors(args[1]), *args[2:])
            if func in PRODUCTS and torch.is_autocast_enabled("cuda"):
                args, kwargs = mapped(lowered, (args, kwargs))
            if func is Tensor.numpy:
                msg = (
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to "
                    "copy the tensor to host memory first."
                )
                raise TypeError(msg)
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __repr__(self, *, tensor_contents=None):
        return f"CardTensor({self.held!r})"

    def __reduce_ex__(self, protocol):
        msg = "a tensor on a card goes into a file, which machines without one cannot read"
        raise AssertionError(msg)


class SlownessError(AssertionError):
    """Something that a card does, but slowly."""


class Card(TorchDispatchMode):
    """While it is entered there is a card."""

    current: "Card | None" = None

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.forbidden = 0
        # Something else while a graph is captured.
        self.run: Callable[[Any, Any, Any], Any] = computed

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})

    def __enter__(self):
        torch._C._set_only_lift_cpu_tensors(True)
        # Parameters that move become others in place: their numbers cannot be exchanged.
        torch.__future__.set_swap_module_params_on_conversion(True)
        # Gradients on this thread: the card has no thread of its own.
        self._threads = torch.autograd.set_multithreading_enabled(False)
        self._threads.__enter__()
        Card.current = self
        return super().__enter__()

    def __exit__(self, *error):
        Card.current = None
        super().__exit__(*error)
        self._threads.__exit__(*error)
        torch.__future__.set_swap_module_params_on_conversion(False)
        torch._C._set_only_lift_cpu_tensors(False)

    @contextlib.contextmanager
    def forbidding(self) -> Iterator[None]:
        """Fail at whatever waits without a reason, and at double precision."""
        self.forbidden += 1
        try:
            yield
        finally:
            self.forbidden -= 1

    def wait(self, what: str) -> None:
        """Account for a wait of host and card for one another."""
        reason = devices.reason_to_wait()
        self.waits[reason or what] += 1
        if self.forbidden and reason is None:
            msg = f"{what} makes the host wait for the card; see cryodrgn.devices.may_wait"
            raise SlownessError(msg)


def leaves_of(nested: Any) -> list[Any]:
    """What lists, tuples and dictionaries hold; PyTorch's own function is general, and slow."""
    if isinstance(nested, dict):
        nested = list(nested.values())
    if type(nested) not in (list, tuple):
        return [nested]
    found = []
    for part in nested:
        if isinstance(part, dict | list | tuple):
            found += leaves_of(part)
        else:
            found.append(part)
    return found


def mapped(change: Callable[[Any], Any], nested: Any) -> Any:
    """Lists, tuples and dictionaries with something else in place of what they hold."""
    if isinstance(nested, dict):
        return {name: mapped(change, part) for name, part in nested.items()}
    kind = type(nested)
    if kind in (list, tuple):
        return kind([mapped(change, part) for part in nested])
    return change(nested)


def is_card(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def with_tensors(index: Any) -> Any:
    """An index with tensors of the host in place of lists, which PyTorch would copy unseen."""
    if isinstance(index, tuple):
        return tuple(with_tensors(part) for part in index)
    return torch.as_tensor(index) if isinstance(index, list | np.ndarray) else index


def stays(tensor: Tensor, *rest: Any, **more: Any) -> bool:
    """Whether :meth:`torch.Tensor.to` has nothing to do."""
    device, dtype, *_ = torch._C._nn._parse_to(*rest, **more)
    return (device is None or is_card(device)) and dtype in (None, tensor.dtype)


def lowered(leaf: Any) -> Any:
    """What autocast on a card makes of a factor."""
    is_single = isinstance(leaf, CardTensor) and leaf.dtype == torch.float32
    return leaf.to(torch.get_autocast_dtype("cuda")) if is_single else leaf


def compute(func, args, kwargs):
    """An operation on tensors of the host, of the card, or of both."""
    leaves = leaves_of((args, kwargs))
    on_card = [leaf for leaf in leaves if isinstance(leaf, CardTensor)]
    if func.overloadpacket in PINNING:
        return pin(func, args, kwargs)
    if kwargs.get("pin_memory"):
        return marked_as_pinned(func(*args, **{**kwargs, "pin_memory": None}))
    target = kwargs.get("device")
    if not on_card and not is_card(target):
        return func(*args, **kwargs)
    card = Card.current
    if card is not None:
        card.operations[str(func.overloadpacket)] += 1
        account(card, func, args, kwargs)
    others = [
        leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, CardTensor)
    ]
    require_one_device(func, args, kwargs, on_card, others)
    require_order(func, args, kwargs)
    plain_args, plain_kwargs = mapped(held_of, (args, kwargs))
    if target is not None:
        plain_kwargs["device"] = HOST
    if func.overloadpacket is aten._to_copy and target is not None:
        # A copy also where both devices are the host, in truth.
        plain_kwargs["non_blocking"] = False
    run = computed if card is None else card.run
    result = run(func, plain_args, plain_kwargs)
    if target is not None and not is_card(target):
        return result
    if func.overloadpacket is aten.copy_ and not isinstance(args[0], CardTensor):
        return args[0]
    wrapped = mapped(wrap, result)
    if card is not None and card.forbidden:
        refuse_double(func, wrapped)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def held_of(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, CardTensor) else leaf


def wrap(leaf: Any) -> Any:
    return CardTensor(leaf) if isinstance(leaf, Tensor) else leaf


def pin(func, args, kwargs):
    source = args[0]
    if func.overloadpacket is aten.is_pinned:
        return is_pinned(source)
    if isinstance(source, CardTensor):
        msg = "cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"
        raise RuntimeError(msg)
    return marked_as_pinned(source.clone())


def marked_as_pinned(tensor: Tensor) -> Tensor:
    vars(tensor)["is_pinned_here"] = True
    return tensor


def is_pinned(tensor: Tensor) -> bool:
    return vars(tensor).get("is_pinned_here", False)


def require_one_device(func, args, kwargs, on_card, others) -> None:
    """Refuse what a card refuses, in its words."""
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != "cuda":
        msg = "Expected a 'cuda' device type for generator but found 'cpu'"
        raise RuntimeError(msg)
    if not others or not on_card or func.overloadpacket in COPIES:
        return
    if func.overloadpacket in INDEXING:
        # Only places may come from the host.
        places = {id(index) for index in args[1] if index is not None}
        others = [other for other in others if id(other) not in places]
        if not isinstance(args[0], CardTensor):
            msg = "indices should be either on cpu or on the same device as the indexed tensor"
            raise RuntimeError(msg)
    takes_numbers = torch.Tag.pointwise in func.tags or func.overloadpacket in INDEXING
    takes_numbers |= func.overloadpacket in {aten.fill_, aten.fill, aten.masked_fill_}
    takes_numbers |= "_foreach" in str(func)
    if any(other.dim() > 0 or not takes_numbers for other in others):
        msg = (
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! ({func})"
        )
        raise RuntimeError(msg)


def account(card: Card, func, args, kwargs) -> None:
    """Count what waits."""
    packet = func.overloadpacket
    if packet in COPIES:
        if copies_and_waits(packet, args, kwargs):
            card.wait(f"a copy between host and card ({func})")
    elif packet in INDEXING:
        indices = [index for index in args[1] if index is not None]
        fills = packet is not aten.index and args[2].numel() == 1
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices) and not fills:
            card.wait(f"a mask in place of indices ({func})")
        if any(not isinstance(index, CardTensor) for index in indices):
            card.wait(f"indices of the host ({func})")
    elif packet in WAITING or (
        packet is aten.repeat_interleave and kwargs.get("output_size") is None
    ):
        card.wait(str(func))


def copies_and_waits(packet, args, kwargs) -> bool:
    source = args[0] if packet is aten._to_copy else args[1]
    if packet is aten._to_copy:
        target = kwargs.get("device")
        to_card = isinstance(source, CardTensor) if target is None else is_card(target)
        non_blocking = kwargs.get("non_blocking", False)
        host = source
    else:
        to_card = isinstance(args[0], CardTensor)
        non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2])
        host = source if to_card else args[0]
    if to_card == isinstance(source, CardTensor):
        return False
    if packet is aten.copy_ and to_card and source.dim() == 0:
        return False  # a number, sent with the operation
    return not (non_blocking and is_pinned(host))


def refuse_double(func, results) -> None:
    for leaf in leaves_of(results):
        if isinstance(leaf, Tensor) and leaf.dtype in (torch.float64, torch.complex128):
            msg = f"{func} computes in double precision on the card"
            raise SlownessError(msg)


class Event(torch.cuda.Event):
    """An event, which has always arrived."""

    def __new__(cls, **settings: bool) -> "Event":
        return object.__new__(cls) if torch.version.cuda is None else super().__new__(cls)

    def __init__(self, **settings: bool) -> None:
        """The real one begins with its settings, too, and is a stand-in without CUDA."""

    def record(self, stream: Any = None) -> None:
        """Remember this place in the stream."""

    def synchronize(self) -> None:
        if Card.current is not None:
            Card.current.wait("the wait for an event")

    def query(self) -> bool:
        return True


class Stream:
    """A stream, whose work is done at once."""

    def __init__(self, device: Any = None) -> None:
        self.device = device

    def wait_event(self, event: Any) -> None:
        """All that came before is done."""


def index_of(device: Any, *, optional: bool) -> int:
    """The index of a device as functions of :mod:`torch.cuda` read it.

    Raises:
        ValueError: There is none, or it is another kind of device; in the words of PyTorch.
        RuntimeError: There is no such card.
    """
    if isinstance(device, str):
        device = torch.device(device)
    if isinstance(device, torch.device):
        if device.type != "cuda":
            msg = f"Expected a cuda device, but got: {device}"
            raise ValueError(msg)
        if device.index is None and not optional:
            msg = (
                "Expected a torch.device with a specified index or an integer, but got:"
                f"{device}"
            )
            raise ValueError(msg)
        device = device.index
    if device is None:
        device = 0
    if not isinstance(device, int):
        msg = f"Expected a torch.device, a string or an integer, but got: {device!r}"
        raise ValueError(msg)
    if device != 0:
        msg = "CUDA error: invalid device ordinal"
        raise (
            torch.AcceleratorError(msg)
            if hasattr(torch, "AcceleratorError")
            else (RuntimeError(msg))
        )
    return device


def functions(free: int, capability: tuple[int, int]) -> dict[str, Callable[..., Any]]:
    """Functions of :mod:`torch.cuda` that check what they are given as the real ones do."""

    def synchronize(device: Any = None) -> None:
        index_of(device, optional=True)
        if Card.current is not None:
            Card.current.wait("torch.cuda.synchronize")

    def known(result: Any) -> Callable[..., Any]:
        def answer(device: Any = None) -> Any:
            index_of(device, optional=True)
            return result

        return answer

    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda including_emulation=True: capability >= (8, 0),
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "current_stream": known(Stream()),
        "set_device": lambda device: index_of(device, optional=False),
        "get_device_name": known("Simulated card"),
        "get_device_capability": known(capability),
        "mem_get_info": known((free, 2 * free)),
        "memory_allocated": known(0),
        "max_memory_allocated": known(0),
        "reset_peak_memory_stats": known(None),
        "empty_cache": lambda: None,
        "synchronize": synchronize,
        "Event": Event,
    }


def enter_without_gradients(mode: torch.inference_mode) -> None:
    gradients = contextlib.ExitStack()
    if mode.mode:
        gradients.enter_context(torch.no_grad())
    mode._inference_mode_context = gradients


def exit_without_gradients(mode: torch.inference_mode, *error: Any) -> None:
    mode._inference_mode_context.close()


@contextlib.contextmanager
def simulated_card(
    monkeypatch: Any, free: int = 8 << 30, capability: tuple[int, int] = (8, 0)
) -> Iterator[Card]:
    """A machine with one card.

    Args:
        monkeypatch: Replaces functions of :mod:`torch.cuda` for the rest of the test.
        free: Bytes of its memory that are said to be free.
        capability: Its generation; from (8, 0) on cards compute in bfloat16.
    """
    # Tensors of a class of ours cannot be made in inference mode.
    mode = torch.inference_mode
    monkeypatch.setattr(mode, "__enter__", enter_without_gradients)
    monkeypatch.setattr(mode, "__exit__", exit_without_gradients)
    for name, function in functions(free, capability).items():
        monkeypatch.setattr(torch.cuda, name, function)
    with Card() as card:
        yield card
