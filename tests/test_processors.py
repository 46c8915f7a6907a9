"""How many threads compute, and how they wait for one another."""

import os
import subprocess
import sys

import pytest
import torch

from cryodrgn import threads
from cryodrgn.processors import (
    Watch,
    granted_processors,
    users_threads,
    wait_without_spinning,
)
from cryodrgn.threads import in_order

TICKS = os.sysconf("SC_CLK_TCK")
PROGRAM = """
import os, sys
from cryodrgn.cli.main import main
try:
    main(["train_vae", "--help"])
except SystemExit:
    pass
import torch
sys.stderr.write(os.environ["OMP_WAIT_POLICY"] + f" {torch.get_num_threads()}")
"""


class Machine:
    """A machine of four processors, of which some are busy, as the watch sees it."""

    def __init__(self, path, monkeypatch):
        self.path, self.now, self.own, self.ticks = path, 0.0, 0.0, [0] * 4
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
        self.passes(0, others=0, own=0)
        self.watch = Watch(4, path, lambda: self.own, lambda: self.now)

    def passes(self, seconds, others, own, nice=0):
        """Let time pass in which others, nice others, and this process use processors."""
        self.now += seconds
        self.own += own * seconds
        lines = []
        for number in range(4):
            self.ticks[number] += round((others + own) / 4 * seconds * TICKS)
            gave_way = round(nice * self.now * TICKS)
            lines.append(f"cpu{number} {self.ticks[number]} {gave_way} 0 7 0 0 0 0 0 0")
        total = sum(self.ticks)
        self.path.write_text("\n".join([f"cpu {total} 0 0 0 0 0 0 0 0 0", *lines, "intr 5"]))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path / "stat", monkeypatch)


def test_threads_are_as_many_as_processors_are_free(machine):
    assert machine.watch.count() == 4
    for others, own, expected in ((1, 3, 3), (3, 1, 1), (4, 0.2, 1), (2, 1, 2), (0, 2, 4)):
        machine.passes(3, others, own)
        assert machine.watch.count() == expected


def test_this_process_and_nice_ones_are_not_other_work(machine):
    machine.passes(3, others=0, own=4, nice=1)
    assert machine.watch.count() == 4


def test_a_moment_changes_nothing(machine):
    machine.passes(0.5, others=4, own=0)
    assert machine.watch.count() == 4
    machine.passes(30, others=0.4, own=3)
    assert machine.watch.count() == 4


def test_the_log_says_once_that_threads_are_fewer(machine, caplog):
    caplog.set_level("INFO", "cryodrgn")
    for others in (3, 0, 3):
        machine.passes(3, others, 1)
        machine.watch.count()
    assert len(caplog.messages) == 1
    assert "1 of 4 threads, because other processes use 3.0 CPUs" in caplog.messages[0]


def test_without_statistics_the_machine_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    clock = iter(range(100))
    watch = Watch(3, tmp_path / "absent", lambda: 0.0, lambda: 10.0 * next(clock))
    assert watch.count() == 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
    ],
)
def test_a_control_group_grants_its_quota(tmp_path, monkeypatch, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert granted_processors(tmp_path) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("4,2", 4), ("", None), ("many", None), ("0", None)]
)
def test_the_number_of_threads_is_the_users_if_there_is_one(text, expected):
    assert users_threads({"OMP_NUM_THREADS": text}) == expected


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_how_threads_wait_is_left_to_a_user_who_has_said_so(name):
    environment = {name: "ACTIVE"}
    wait_without_spinning(environment)
    assert environment[name] == "ACTIVE"
    assert environment.get("OMP_WAIT_POLICY") in {None, "ACTIVE"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"OMP_NUM_THREADS": "1"}, "PASSIVE 1"),
        ({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 1"),
    ],
)
def test_a_command_waits_without_spinning_unless_told_otherwise(settings, expected):
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=plain | settings, capture_output=True, text=True
    )
    assert done.stderr == expected


@pytest.mark.parametrize("count", [1, 2, 3])
def test_pieces_come_in_their_order_whatever_the_number_of_threads(monkeypatch, count):
    monkeypatch.setattr(threads, "useful_threads", lambda: count)
    monkeypatch.setattr(threads, "most_threads", lambda: 3)
    before = torch.get_num_threads()
    with torch.no_grad():
        found = list(in_order(lambda n: (n, torch.is_grad_enabled()), range(20)))
    assert found == [(n, False) for n in range(20)]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("count", [1, 2])
def test_what_goes_wrong_in_a_piece_is_raised(monkeypatch, count):
    monkeypatch.setattr(threads, "useful_threads", lambda: count)
    monkeypatch.setattr(threads, "most_threads", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda n: 1 / n, [3, 2, 1, 0, 1, 2, 3]))
