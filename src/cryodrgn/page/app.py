"""Answers of the page's server: routes that translate requests, and nothing else.

Numbers travel as float32 or uint32, volumes for pictures as float16, in the byte order that all
browsers share (little endian); what describes them stands in the header ``x-about`` as JSON.
"""

import json
import logging
import math
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import numpy as np

import cryodrgn
from cryodrgn.errors import CryodrgnError, InputFileError, MissingDependencyError
from cryodrgn.io.log import as_named
from cryodrgn.io.mrc import volume_bytes
from cryodrgn.io.text import read_bytes
from cryodrgn.page.columns import shown_groups
from cryodrgn.page.selections import ChangedSinceError
from cryodrgn.page.shown_run import ShownRun
from cryodrgn.page.volumes import Superseded, Wish, for_drawing
from cryodrgn.web import static_files

try:
    from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, StreamingResponse
    from starlette.exceptions import HTTPException
except ImportError as error:
    message = "the page needs FastAPI; install it with: pip install 'cryodrgn[dashboard]'"
    raise MissingDependencyError(message) from error

logger = logging.getLogger(__name__)

MOST_LATENTS = 1024
BYTES = "application/octet-stream"
PART_BYTES = 256 * 1024
KINDS = {".pkl": BYTES, ".star": "text/plain", ".cs": BYTES, ".csg": "text/plain"}


def make_app(runs: Sequence[ShownRun]) -> FastAPI:
    """The application that answers for some runs; :class:`Guard` stands before it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.runs = tuple(runs)
    static = static_files()

    @app.get("/")
    def page() -> Response:
        return Response(static["index.html"].content, media_type="text/html; charset=utf-8")

    @app.get("/static/{name}")
    def static_file(name: str) -> Response:
        if name not in static:
            msg = f"the page has no file {name[:80]!r}"
            raise InputFileError(msg)
        return Response(static[name].content, media_type=static[name].media_type)

    @app.get("/api/runs")
    def listed() -> Any:
        return {"version": cryodrgn.__version__, "runs": [run.listed() for run in runs]}

    app.include_router(router)
    _add_refusals(app)
    return app


def _shown(number: int, request: Request) -> ShownRun:
    runs: tuple[ShownRun, ...] = request.app.state.runs
    if not 0 <= number < len(runs):
        msg = f"there are runs 0 to {len(runs) - 1}, not {number}"
        raise InputFileError(msg)
    return runs[number]


Shown = Annotated[ShownRun, Depends(_shown)]
Epoch = Annotated[int | None, Query(ge=-1, le=10**9)]
Side = Annotated[int | None, Query(ge=2, le=4096)]
Finite = Annotated[float, Query(allow_inf_nan=False)]
Turn = Annotated[int, Query(ge=0, le=2**53)]
router = APIRouter(prefix="/api/runs/{number}")


@router.get("")
def described(run: Shown) -> Any:
    """The run."""
    found = run.described()
    return found | {"notes": _named(found["notes"])}


@router.get("/progress")
def progress(run: Shown, seen: str = "") -> Any:
    """Losses, rate, time left and verdict, if there is anything new."""
    stamp = run.stamp()
    if stamp == seen:
        return {"stamp": stamp, "unchanged": True}
    return {"stamp": stamp, **run.progress()}


@router.get("/columns")
def columns(run: Shown, epoch: Epoch = None) -> Any:
    """Names of the columns of an epoch."""
    shown = run.epoch(epoch)
    groups = shown_groups(run.column_groups(shown))
    return {"epoch": shown, "groups": groups, "notes": _named(run.column_notes(shown))}


@router.get("/file-columns")
def file_columns(run: Shown) -> Any:
    """Names of the columns of poses, CTF and the particle file."""
    groups, notes = run.file_groups(run.epoch(None))
    return {"groups": shown_groups(groups), "notes": _named(notes)}


@router.get("/column")
def column(run: Shown, group: str, name: str, epoch: Epoch = None) -> Response:
    """One number for every particle."""
    found = run.column(group, name, run.epoch(epoch))
    about = {"names": len(found.names) if found.names else 0, "unit": found.unit}
    return _numbers(found.values, about)


@router.get("/column-names")
def column_names(run: Shown, group: str, name: str, epoch: Epoch = None) -> Any:
    """Names of the groups that the numbers of a column stand for."""
    return {"names": run.column(group, name, run.epoch(epoch)).names or []}


@router.get("/latent")
def latent(run: Shown, row: int, epoch: Epoch = None) -> Any:
    """The latent of one particle."""
    z = run.moved(row, {}, run.epoch(epoch))
    return {"z": [float(value) for value in z]}


@router.get("/point")
def point(
    run: Shown,
    row: int,
    x_name: str,
    x: Finite,
    y_name: str,
    y: Finite,
    x_group: str = "latent",
    y_group: str = "latent",
    epoch: Epoch = None,
) -> Any:
    """The latent of a particle, moved along two axes to a place on them."""
    wanted = {
        name: v for g, name, v in ((x_group, x_name, x), (y_group, y_name, y)) if g == "latent"
    }
    z = run.moved(row, wanted, run.epoch(epoch))
    return {"z": [float(value) for value in z], "moved": bool(wanted)}


@router.get("/pictures")
def pictures(run: Shown, row: int, epoch: Epoch = None) -> Response:
    """Pictures of one particle, one after another."""
    found = run.pictures(row, run.epoch(epoch))
    stacked = {name: np.ascontiguousarray(image) for name, image in found.items()}
    sides = {name: image.shape[-1] for name, image in stacked.items()}
    values = np.concatenate([image.reshape(-1) for image in stacked.values()])
    return _numbers(values, {"sides": sides})


@router.get("/volume")
def volume(
    run: Shown,
    z: str = "",
    side: Side = None,
    epoch: Epoch = None,
    page: str = "",
    turn: Turn = 0,
    precision: Literal["single", "half"] = "single",
) -> Response:
    """The volume at a point of the latent space, for pictures with half precision."""
    shown, wanted = run.epoch(epoch), _wish(z, side, page, turn)
    found = run.desk(shown).volume(wanted)
    about = {
        "side": len(found),
        "pixel_size": run.geometry(len(found)).pixel_size,
        "epoch": shown,
    }
    if wanted.latent:
        about |= run.support(shown).of(wanted.latent)
    if precision == "half":
        found, drawn = for_drawing(found)
        about |= drawn
    return _numbers(found, about)


@router.get("/volume.mrc")
def volume_file(
    run: Shown,
    z: str = "",
    side: Side = None,
    epoch: Epoch = None,
) -> Response:
    """The volume at a point of the latent space, as an MRC file."""
    found = run.desk(run.epoch(epoch)).volume(_wish(z, side, "", 0))
    return _download(volume_bytes(found, run.geometry(len(found))))


@router.get("/map")
def stored_map(run: Shown, name: str) -> Response:
    """A map in the folder of the run."""
    found, pixel_size = run.map(name)
    return _numbers(found, {"sides": found.shape, "pixel_size": pixel_size})


@router.get("/map.mrc")
def map_file(run: Shown, name: str) -> Response:
    """A map in the folder of the run, as its file is."""
    return _download(read_bytes(run.map_path(name)))


@router.get("/half-maps")
def half_maps(run: Shown) -> Any:
    """Correlations of half maps."""
    return _finite(run.half_map_curves())


@router.get("/selections")
def saved_selections(run: Shown) -> Any:
    """The selections that are saved."""
    selections = run.selections
    return {"selections": selections.all(), "notes": selections.notes()}


@router.get("/selection")
def rows(run: Shown, name: str) -> Response:
    """The particles of a selection."""
    return _numbers(run.selections.rows(name).astype(np.uint32), {})


@router.post("/selection")
async def save(run: Shown, request: Request, name: str, seen: str = "") -> Any:
    """Save a selection; its particles are the body."""
    body = await request.body()
    if len(body) % 4 or not body:
        msg = "a selection is sent as rows of 4 bytes each, at least one"
        raise InputFileError(msg)
    particles = np.frombuffer(body, dtype="<u4").astype(np.int64)
    return await run_in_threadpool(lambda: run.selections.keep(name, particles, seen))


@router.post("/export")
def export(run: Shown, name: str) -> Any:
    """Write a selection back into the format of the particle file."""
    return run.selections.export(name)


@router.get("/download")
def download(run: Shown, name: str, ending: str = ".pkl") -> Response:
    """A file of a selection."""
    path: Path = run.selections.download(name, ending)
    # As it is: readers of particle files refuse a group file.
    return _download(path.read_bytes(), path.name, KINDS.get(path.suffix, BYTES))


def _wish(z: str, side: Side, page: str, turn: int) -> Wish:
    words = [word for word in z.split(",") if word]
    try:
        point = tuple(float(word) for word in words[:MOST_LATENTS])
    except ValueError:
        msg = f"a point of the latent space is numbers with commas, got {z[:80]!r}"
        raise InputFileError(msg) from None
    return Wish(latent=point, box_size=side, page=page[:64], turn=turn)


def _add_refusals(app: FastAPI) -> None:
    """A sentence and a status for everything that cannot be done."""

    @app.exception_handler(CryodrgnError)
    async def cannot(request: Request, error: CryodrgnError) -> Response:  # noqa: ARG001
        status = 409 if isinstance(error, ChangedSinceError) else 404
        if not isinstance(error, ChangedSinceError | InputFileError):
            status = 422
        return JSONResponse({"error": as_named(str(error))}, status)

    @app.exception_handler(Superseded)
    async def superseded(request: Request, error: Superseded) -> Response:  # noqa: ARG001
        return JSONResponse({"superseded": True}, 409)

    @app.exception_handler(OSError)
    async def gone(request: Request, error: OSError) -> Response:  # noqa: ARG001
        reason = error.strerror or "it cannot be read"
        said = f"a file of the run cannot be used any more: {error.filename}: {reason}"
        return JSONResponse({"error": said}, 404)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:  # noqa: ARG001
        return JSONResponse({"error": f"nothing is there: {error.detail}"}, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def mistaken(request: Request, error: RequestValidationError) -> Response:  # noqa: ARG001
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)


def _numbers(values: np.ndarray, about: Mapping[str, Any]) -> Response:
    """Numbers as they lie in memory, with their description in a header."""
    kind = {"u4": "<u4", "f2": "<f2"}.get(values.dtype.str[1:], "<f4")
    content = np.ascontiguousarray(values, dtype=kind).reshape(-1).view(np.uint8)
    headers = {"x-about": json.dumps(_finite(about)), "content-length": str(len(content))}
    starts = range(0, len(content), PART_BYTES)
    parts = (content[at : at + PART_BYTES].tobytes() for at in starts)
    return StreamingResponse(_soon(parts), media_type=BYTES, headers=headers)


async def _soon(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Parts of an answer: what the connection cannot take at once is copied again and again."""
    for part in parts:
        yield part


def _download(content: bytes, name: str = "", kind: str = BYTES) -> Response:
    """A file; without a name of its own it gets the one that the page's link has."""
    if not name:
        named = ""
    elif re.fullmatch(r"[\w.-]+", name, re.ASCII):
        named = f'; filename="{name}"'
    else:
        # A header has no other letters (RFC 5987).
        named = f"; filename*=UTF-8''{quote(name, safe='')}"
    headers = {"content-disposition": f"attachment{named}"}
    return Response(content, media_type=kind, headers=headers)


def _named(notes: Iterable[str]) -> list[str]:
    """Sentences with settings named by their flags, as on the terminal of the server."""
    return [as_named(note) for note in notes]


def _finite(value: Any) -> Any:
    """JSON knows no infinity, and nothing that is no number."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
