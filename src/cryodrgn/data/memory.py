"""Memory available to this process within all limits: machine, control group, SLURM."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

PROCESS = Path("/proc/self")
MACHINE = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
# Limit, use, and what of the use can be given up, by version of control groups.
_FILES = (
    ("memory.max", "memory.current", "inactive_file "),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
)
# A limit above this is none.
NO_LIMIT = 2**60


def available_memory() -> int:
    """Bytes that can be used without swapping and without the limit of a batch job."""
    return max(min(memory_limits().values()), 0)


def memory_limits(environment: Mapping[str, str] | None = None) -> dict[str, int]:
    """Bytes that can still be used, by what limits them.

    Args:
        environment: Variables in which SLURM says what it grants; None takes those of the
            process.
    """
    limits = {"machine": _machine_memory()}
    for folder in _cgroup_folders():
        for limit_name, use_name, cache in _FILES:
            limit, use = _number(folder / limit_name), _number(folder / use_name)
            if limit is not None and use is not None and limit < NO_LIMIT:
                left = limit - use + _cached(folder / "memory.stat", cache)
                limits["control group"] = min(limits.get("control group", left), left)
    granted = _granted_by_slurm(os.environ if environment is None else environment)
    if granted is not None:
        limits["SLURM"] = granted - resident_memory()
    return limits


def resident_memory() -> int:
    """Bytes that this process holds in memory."""
    try:
        pages = int((PROCESS / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _granted_by_slurm(environment: Mapping[str, str]) -> int | None:
    """Memory that SLURM grants here in bytes; its variables are in MiB, 0 means all."""
    try:
        whole = int(environment.get("SLURM_MEM_PER_NODE", "0"))
        per_cpu = int(environment.get("SLURM_MEM_PER_CPU", "0"))
        cpus = int(environment.get("SLURM_CPUS_ON_NODE", "1"))
    except ValueError:
        return None
    return (whole or per_cpu * cpus) * 2**20 or None


def _cgroup_folders() -> Iterator[Path]:
    """Folders of this process's control groups, and of all that hold them."""
    try:
        lines = (PROCESS / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    yield from (CGROUPS, CGROUPS / "memory")
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        folder = root / name.lstrip("/")
        while folder != root and root in folder.parents:
            yield folder
            folder = folder.parent


def _cached(path: Path, name: str) -> int:
    """Bytes of files that are only kept in case they are read again."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _machine_memory() -> int:
    try:
        lines = MACHINE.read_text().splitlines()
    except OSError:
        # Not Linux: take what the machine has for what is free.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in lines)
    return 1024 * int(fields["MemAvailable"].split()[0])


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
