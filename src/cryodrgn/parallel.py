"""Several processes that do one job together, as ``torchrun`` starts them.

Every process runs the same program on its share of the particles; sums and gathers keep them
together. Alone, a process is a team of one, and nothing is sent anywhere.
"""

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cryodrgn.errors import TeamError

TIMEOUT = timedelta(minutes=30)
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Team:
    """The processes of a job, seen from one of them.

    Attributes:
        rank: Number of this process.
        size: How many there are.
        local_rank: Its number among those of its machine.
        local_size: How many there are on its machine.
        host: What processes agree on goes this way, past their devices, which need not have
            come to an end for that; None takes the way of everything else.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    host: dist.ProcessGroup | None = None

    @property
    def is_writer(self) -> bool:
        """True if this process writes files and reports."""
        return self.rank == 0

    def share(self, rows: Tensor) -> tuple[Tensor, float]:
        """This process's part of a batch, and by what to divide sums over its images.

        Sums over all processes of what was divided so are means over the batch. If there are
        fewer images than processes, everyone takes all of them.
        """
        if len(rows) < self.size:
            return rows, float(len(rows) * self.size)
        return rows[self.rank :: self.size], float(len(rows))

    def piece(self, rows: Tensor) -> Tensor:
        """This process's piece of a list that is cut into one piece for each process."""
        return rows.tensor_split(self.size)[self.rank]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one type by their sums over all processes."""
        if self.size == 1 or not tensors:
            return
        bucket = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _together(lambda: dist.all_reduce(bucket))
        parts = bucket.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size == 1:
            return value
        value = value.clone()
        self.add([value])
        return value

    def sum_numbers(self, number: float) -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return number
        numbers = [0.0] * self.size
        _together(lambda: dist.all_gather_object(numbers, number, group=self.host))
        return sum(numbers)

    def any(self, condition: bool) -> bool:  # noqa: FBT001 (it is what is asked)
        """True in all processes if a condition holds in any of them."""
        if self.size == 1:
            return condition
        count = torch.tensor([int(condition)])
        _together(lambda: dist.all_reduce(count, group=self.host))
        return bool(count)

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all processes, one after another."""
        if self.size == 1:
            return tensor
        counts = [0] * self.size
        _together(lambda: dist.all_gather_object(counts, len(tensor), group=self.host))
        padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        pieces = [torch.empty_like(padded) for _ in counts]
        _together(lambda: dist.all_gather(pieces, padded))
        return torch.cat([piece[:count] for piece, count in zip(pieces, counts, strict=True)])

    def agree(self, value: Any) -> Any:
        """The value of the first process, in all processes."""
        if self.size == 1:
            return value
        values = [value]
        _together(lambda: dist.broadcast_object_list(values, src=0, group=self.host))
        return values[0]

    @contextmanager
    def raise_on_all(self, kind: type[Exception]) -> Iterator[None]:
        """Whatever of a kind goes wrong in one process ends this block in all of them.

        All processes must enter it. They wait for one another at its end, where they are told,
        so that none of them waits for ever for a sum to which another does not come. Of blocks
        within one another the innermost that has ended is where they meet.
        """
        error: Exception | None = None
        try:
            yield
        except kind as caught:
            if self.size == 1 or vars(caught).get("is_known"):
                raise
            error = caught
        if self.size > 1 and self.any(error is not None):
            error = error or kind("another process of this job has failed")
            vars(error)["is_known"] = True
            raise error

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            _together(lambda: dist.barrier(group=self.host))


ALONE = Team()


@contextmanager
def join_team(device_type: str) -> Iterator[Team]:
    """The team that ``torchrun`` made this process a member of; alone without it.

    Args:
        device_type: ``cuda`` lets graphics cards talk to one another directly.

    Raises:
        TeamError: The others cannot be reached.
    """
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    # The defaults of its functions are the team of the time when it is loaded. Loaded later, by
    # an optimizer for instance, they would keep the team's threads alive past the end of the
    # program, which now and then aborts for it.
    importlib.import_module("torch.distributed.nn.functional")
    backend = "nccl" if device_type == "cuda" else "gloo"
    _together(lambda: dist.init_process_group(backend, timeout=TIMEOUT))
    try:
        host = None
        if backend != "gloo":
            host = dist.new_group(backend="gloo", timeout=TIMEOUT)
            assert isinstance(host, dist.ProcessGroup)
        yield Team(
            rank=dist.get_rank(),
            size=dist.get_world_size(),
            local_rank=int(os.environ.get("LOCAL_RANK", "0")),
            local_size=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            host=host,
        )
    finally:
        dist.destroy_process_group()


def _together(call: Callable[[], Result]) -> Result:
    try:
        return call()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        msg = (
            f"another process of this job is gone ({reason}); see what it said, and go on with "
            "`load` latest"
        )
        raise TeamError(msg) from error
