"""Many damaged files for every reader: ``python tests/fuzz/long_run.py --inputs 1000000``.

Whatever a reader raises other than an error of ours is written to ``tests/fuzz/found``, from
where ``test_fuzz.py`` feeds it to the reader for ever. What is counted is printed as JSON.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from cryodrgn.errors import CryodrgnError
from fuzz.mutate import mutated
from fuzz.readers import Reader, all_readers

FOUND = Path(__file__).with_name("found")
# Address space that damaged files of a few kilobytes may take beyond what is taken before.
MOST_MEMORY = 2**30
SLOW_SECONDS = 5.0


@contextlib.contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """A limit on the address space of this process, beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def prepare(reader: Reader, folder: Path) -> Path:
    """The folder in which a reader finds its file; returns where that goes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in reader.beside.items():
        (folder / name).write_bytes(content)
    return folder / reader.name


def outcome(reader: Reader, path: Path, content: bytes) -> str:
    """``read`` or ``refused``; anything but an error of ours is raised."""
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(path)
    except CryodrgnError as error:
        if "\n" in str(error) or len(str(error)) > 3000:
            msg = f"the message is no single sentence: {str(error)[:500]!r}"
            raise AssertionError(msg) from error
        return "refused"
    return "read"


def fuzz(
    readers: dict[str, Reader], folder: Path, inputs: int, seed: int, *, keep: bool = True
) -> dict[str, Counter[str]]:
    """Feed damaged files to every reader; what is found is kept and counted as ``found``."""
    results: dict[str, Counter[str]] = {}
    for name, reader in readers.items():
        path = prepare(reader, folder / name.replace(" ", "_"))
        rng = random.Random(f"{seed} {name}")
        counts = results[name] = Counter()
        for seed_file in reader.seeds:
            assert outcome(reader, path, seed_file) == "read", name
        for _ in range(inputs // len(readers) + 1):
            content = mutated(rng.choice(reader.seeds), reader.seeds, rng)
            started = time.monotonic()
            try:
                counts[outcome(reader, path, content)] += 1
            except Exception:  # noqa: BLE001 (that is what is looked for)
                counts["found"] += 1
                if keep:
                    _keep(name, content)
            if time.monotonic() - started > SLOW_SECONDS:
                counts["slow"] += 1
    return results


def _keep(name: str, content: bytes) -> None:
    place = traceback.extract_tb(sys.exception().__traceback__)[-1]
    error = type(sys.exception()).__name__
    label = f"{error}-{Path(place.filename).stem}-{place.lineno}"
    target = FOUND / name.replace(" ", "_") / hashlib.sha256(label.encode()).hexdigest()[:8]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        sys.stderr.write(f"{name}: {label}: {sys.exception()!s:.200}\n")
        traceback.print_exc(limit=-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", help="only this one")
    options = parser.parse_args()
    logging.getLogger("cryodrgn").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        readers = all_readers(folder)
        if options.reader:
            readers = {options.reader: readers[options.reader]}
        started = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with bounded_memory(MOST_MEMORY):
            results = fuzz(readers, folder, options.inputs, options.seed)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    total: Counter[str] = sum(results.values(), Counter())
    summary = {
        "inputs": sum(n for key, n in total.items() if key != "slow"),
        "readers": len(results),
        "read": total["read"],
        "refused": total["refused"],
        "found": total["found"],
        "slow": total["slow"],
        "memory_growth_bytes": grown,
        "seconds": round(time.monotonic() - started),
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    sys.exit(bool(total["found"] or total["slow"]))


if __name__ == "__main__":
    main()
