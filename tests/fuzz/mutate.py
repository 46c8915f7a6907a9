"""Damage to files: of single bits, of numbers, of whole pieces."""

import random
import re

NUMBERS = re.compile(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
WORDS = (
    *(b"nan", b"inf", b"-1", b"0", b"1e400", b"-1e400", b"1e-320", b"9" * 30, b"9" * 5000),
    *(b"2147483648", b"4294967296", b"9223372036854775808", b"1000000000", b"0x10", b"\xff"),
    *(b"", b"'", b'"', b"@", b"../../etc/passwd", b"/dev/zero", b"\x00", b"\xc3\x28", b"~"),
    *(b"null", b"[]", b"{}", b"true", b"!!python/object/apply:os.system [id]", b"&a *a", b"<<"),
)
INTEGERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Instructions of pickles, which random bits seldom hit.
OPCODES = b"().012FIJKLMNRSTUVXabcdeghijlopqrstuz}]\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c"
OPCODES += b"\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A file with one to four pieces of damage."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(KINDS)(data, others, rng)
    return bytes(data)


def _flip(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _opcode(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    if data:
        data[_place(data, rng)] = rng.choice(OPCODES)


def _integer(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice(INTEGERS) & (256**width - 1)
    place = _place(data, rng) // width * width
    data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _number(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    found = list(NUMBERS.finditer(data))
    if found:
        match = rng.choice(found)
        data[match.start() : match.end()] = rng.choice(WORDS)


def _word(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    data[place:place] = rng.choice(WORDS)


def _cut(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _remove(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    del data[place : place + rng.choice((1, 2, 8, 64))]


def _repeat(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    place = _place(data, rng)
    piece = bytes(data[place : place + rng.choice((1, 8, 64, 512))])
    data[place:place] = piece * rng.choice((1, 2, 20))


def _lines(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    rows = data.splitlines(keepends=True)
    if len(rows) > 1:
        first, second = rng.randrange(len(rows)), rng.randrange(len(rows))
        rows[first] = rows[second]
        data[:] = b"".join(rows)


def _splice(data: bytearray, others: list[bytes], rng: random.Random) -> None:
    other = rng.choice(others)
    data[_place(data, rng) :] = other[rng.randrange(len(other) + 1) :]


KINDS = (
    *(_flip, _opcode, _integer, _number, _number, _word),
    *(_cut, _remove, _repeat, _lines, _splice),
)


def _place(data: bytearray, rng: random.Random) -> int:
    """A place, more often near the beginning, where headers are."""
    if not data:
        return 0
    return rng.randrange(min(len(data), rng.choice((16, 256, 1024, len(data)))) or 1)
