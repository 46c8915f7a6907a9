"""Files that are something else than their name says, told by their first bytes."""

import re
from pathlib import Path

from cryodrgn.errors import InputFileError

# As many bytes as are looked at.
BEGINNING = 4096

# First bytes, and the program that unpacks what begins so.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "zstd -d"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z x"),
    b"\x1f\x9d": ("compress", "uncompress"),
}
_ZIP = b"PK\x03\x04"
_WEB_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE
)
# Tables of other programs that are no STAR files.
_OTHER_TABLES = {
    "a list of EMAN2 (.lst)": re.compile(rb"#LSX\b"),
    "a parameter file of FREALIGN or cisTEM (.par)": re.compile(
        rb"C\s+(?:.*\s)?PSI\s+THETA\s+PHI\b"
    ),
    "a database (SQLite), as cisTEM writes it": re.compile(rb"SQLite format 3\x00"),
    "an HDF5 file, as EMAN2 and others write it": re.compile(rb"\x89HDF\r\n\x1a\n"),
}
_TABLE_OF_GROUP = re.compile(
    rb"^\s+metafile:\s*['\"]?>?([^'\"\n]+?\.cs)['\"]?\s*$", re.MULTILINE
)

# Formats that are read here, by their names in messages.
ARRAY = "a numpy array (.npy, or a table of cryoSPARC, .cs)"
MRC = "an MRC file (images or a volume)"
PICKLE = "a pickle (.pkl)"
STAR = "a STAR file (.star)"
_BEGINS_STAR = re.compile(
    rb"^(?:data_\S*(?:\s|#[^\n]*\n)+(?:loop_|_\w)|# version \d{5}\s)", re.MULTILINE
)
# A third byte of 0 begins an MRC file of 640 columns.
_BEGINS_PICKLE = re.compile(rb"\x80[\x02-\x05][^\x00]")


def unreadable(path: Path, expected: str, otherwise: str) -> str:
    """Sentence on a file that its reader could not read, which names another format.

    Args:
        path: The file.
        expected: Format that was looked for: :data:`ARRAY`, :data:`MRC`, :data:`PICKLE` or
            :data:`STAR`.
        otherwise: Sentence on a file that has no other of these formats.
    """
    with path.open("rb") as file:
        found = _format(file.read(BEGINNING))
    if found is None or found == expected:
        return otherwise
    return f"{path} is {found}, expected {expected}"


def _format(beginning: bytes) -> str | None:
    if beginning.startswith(b"\x93NUMPY"):
        return ARRAY
    if beginning[208:211] == b"MAP":
        return MRC
    if _BEGINS_PICKLE.match(beginning):
        return PICKLE
    return STAR if _BEGINS_STAR.search(beginning) else None


def refuse_mistaken(path: Path, beginning: bytes, *, may_be_zip: bool = False) -> None:
    """Refuse a file that no reader of this program is meant for, and say what it is.

    These are files without content, compressed files, placeholders of git-LFS and git-annex,
    web pages saved in place of a download, cryoSPARC's group files and ``CSDAT`` tables, and
    tables of EMAN2, FREALIGN and cisTEM.

    Args:
        path: The file, for the message.
        beginning: Its first :data:`BEGINNING` bytes, or all that there are.
        may_be_zip: Whether the right file is a zip archive, as weights and ``.npz`` are.

    Raises:
        InputFileError: It is one of these.
    """
    words = _recognised(beginning, may_be_zip=may_be_zip)
    if words is not None:
        msg = f"{path} {words}"
        raise InputFileError(msg)


def _recognised(beginning: bytes, *, may_be_zip: bool) -> str | None:
    """Kind of a file that is not a particle file; None if it may be one."""
    if not beginning:
        return (
            "is empty (0 bytes): the program that wrote it was stopped, or it was not copied "
            "whole; write or copy it again"
        )
    if beginning.startswith(_ZIP):
        return None if may_be_zip else _recognised_zip(beginning)
    for start, (name, command) in _PACKED.items():
        if beginning.startswith(start):
            return f"is compressed with {name}; unpack it first ({command})"
    if b"ustar" in beginning[257:263]:
        return "is a tar archive; unpack it first (tar -xf)"
    return _recognised_by_words(beginning)


def _recognised_zip(beginning: bytes) -> str:
    # What torch saves is named so in its archive.
    if b"/data.pkl" in beginning[:200]:
        return (
            "holds weights of a network (weights.pkl) or other data that torch.save wrote, "
            "and is read only where weights are asked for; give the file that is meant here"
        )
    # The name of the first file in an archive ends before its content.
    if b".npy" in beginning[30:200]:
        return "holds several arrays (.npz); save the one that is meant with numpy.save (.npy)"
    return "is compressed, a zip archive; unpack it first (unzip)"


def _recognised_by_words(beginning: bytes) -> str | None:
    if beginning.startswith(b"\x94CSDAT"):
        return (
            "is a table in cryoSPARC's format CSDAT, which is not read here; load it with "
            "Dataset.load of cryosparc-tools and save it, which writes numpy's format"
        )
    if beginning.startswith(b"version https://git-lfs.github.com/spec/"):
        return (
            "is a placeholder of git-LFS, not the file itself; fetch the file with git lfs pull"
        )
    if b"annex/objects/" in beginning[:500] and len(beginning) < 1000:
        return "is a placeholder of git-annex, not the file itself; fetch it with git annex get"
    if _WEB_PAGE.match(beginning):
        return (
            "is a web page (HTML), such as a login or error page saved in place of the file; "
            "download the file again"
        )
    tables = [name.decode(errors="replace") for name in _TABLE_OF_GROUP.findall(beginning)]
    if tables:
        named = " or ".join(dict.fromkeys(name[:200] for name in tables[:20]))
        return (
            f"is a group file of cryoSPARC (.csg), which names tables; take {named} beside it"
        )
    return _recognised_of_others(beginning)


def _recognised_of_others(beginning: bytes) -> str | None:
    for what, mark in _OTHER_TABLES.items():
        if mark.match(beginning):
            return (
                f"is {what}, which is not read here; export particles from that program in "
                "RELION's format (.star) and images as MRC stacks (.mrcs)"
            )
    return None
