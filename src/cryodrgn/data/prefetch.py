"""Images of the next batch, sent to a CUDA device while the present one is computed."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Float, Int
from torch import Tensor

Sent = tuple[Float[Tensor, "images points 2"], torch.cuda.Event]


class DevicePrefetch:
    """Reads images in a thread, and sends them by a stream of its own.

    Args:
        read: Reads images of some rows into memory.
        device: A CUDA device.
    """

    def __init__(
        self,
        read: Callable[[Int[Tensor, " images"]], Float[Tensor, "images points 2"]],
        device: torch.device,
    ) -> None:
        self._read, self._device = read, device
        self._stream = torch.cuda.Stream(device)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="send")
        self._coming: tuple[Tensor, Future[Sent]] | None = None

    def expect(self, rows: Int[Tensor, " images"]) -> None:
        """Begin to send images that will be asked for next."""
        self._coming = rows, self._reader.submit(self._send, rows)

    def take(self, rows: Int[Tensor, " images"]) -> Float[Tensor, "images points 2"]:
        """Some images on the device, for what is computed there from now on."""
        coming, self._coming = self._coming, None
        if coming is not None and torch.equal(coming[0], rows):
            images, arrived = coming[1].result()
        else:
            # By the same thread, which alone reads.
            images, arrived = self._reader.submit(self._send, rows).result()
        present = torch.cuda.current_stream(self._device)
        present.wait_event(arrived)
        # Its memory belongs to the other stream, which must not use it again before.
        images.record_stream(present)
        return images

    def close(self) -> None:
        """Stop reading."""
        self._coming = None
        self._reader.shutdown(cancel_futures=True)

    def _send(self, rows: Int[Tensor, " images"]) -> Sent:
        pinned = self._read(rows).pin_memory()
        with torch.cuda.stream(self._stream):
            images = pinned.to(self._device, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
        return images, arrived
