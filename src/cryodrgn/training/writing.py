"""Files of a run that are written beside its steps."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from cryodrgn.errors import OutputFileError

logger = logging.getLogger(__name__)


class Writer:
    """Writes one thing after another, in a thread where that does not take time from training.

    What is written must not change any more. Errors of writing are raised by the method that is
    called next, so that they end the run as they do without a thread.

    Args:
        is_beside: Whether to write in a thread. On processors it would take memory, and the
            time of a processor, from training.
    """

    def __init__(self, *, is_beside: bool) -> None:
        self.is_beside = is_beside
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write") if is_beside else None
        self._pending: tuple[Future[None], Callable[[], None]] | None = None

    def write(self, work: Callable[[], None], then: Callable[[], None]) -> None:
        """Begin to write, once what was begun before is written.

        Args:
            work: Writes.
            then: Called afterwards, by this thread.

        Raises:
            OutputFileError: Something could not be written.
        """
        self.finish()
        if self._pool is None:
            work()
            then()
        else:
            self._pending = self._pool.submit(work), then

    def look(self) -> None:
        """Take note of what has been written meanwhile.

        Raises:
            OutputFileError: It could not be written.
        """
        if self._pending is not None and self._pending[0].done():
            self.finish()

    def finish(self) -> None:
        """Wait for what is being written.

        Raises:
            OutputFileError: It could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending[0].result()
            pending[1]()

    def close(self) -> None:
        """Wait for what is being written after the run has failed, and end the thread."""
        pending, self._pending = self._pending, None
        if self._pool is None:
            return
        if pending is not None:
            with suppress(OutputFileError):
                pending[0].result()
        self._pool.shutdown()
