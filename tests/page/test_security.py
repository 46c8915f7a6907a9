"""The page's server answers nobody but its own page, and writes nothing but selections."""

import random
import shutil
from pathlib import Path

import pytest
import torch

from cryodrgn.errors import ConfigError
from cryodrgn.page import serving as serving_module
from cryodrgn.page.security import MOST_BYTES, POLICY
from cryodrgn.page.serving import PageServer
from page.server import serving

ROWS = b"\1\0\0\0\2\0\0\0"


def test_the_link_gives_a_cookie_that_scripts_and_other_sites_do_not_see(page):
    answer = page.get(f"/?token={page.server.token}", Cookie=None)
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert cookie == f"{page.cookie}; Path=/; HttpOnly; SameSite=Strict"
    assert "set-cookie" not in page.get("/").headers


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/api/runs", "/nothing"])
def test_nobody_is_answered_without_the_token(page, path):
    assert page.get(path, Cookie=None).status == 401
    assert page.get(path, Cookie=f"{page.server.cookie}=x").status == 401
    assert page.get(f"{path}?token=x", Cookie=None).status == 401


def test_a_name_that_others_can_give_away_is_refused(page):
    for host in ("evil.example", f"evil.example:{page.server.port}", "", "127.0.0.1.evil.io"):
        assert page.get("/api/runs", Host=host).status == 403
    # A tunnel has another port.
    for host in ("localhost:9999", "[::1]:80", "127.0.0.1"):
        assert page.get("/api/runs", Host=host, Origin=None).status == 200


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://localhost:1"])
def test_changes_are_taken_from_the_page_alone(page, origin):
    assert page.post("/api/runs/0/selection?name=a", ROWS, Origin=origin).status == 403


def test_other_pages_are_not_told_anything(page):
    assert page.get("/api/runs", Origin="http://evil.example").status == 403
    headers = page.get("/").headers
    assert headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert headers["x-frame-options"] == "DENY"
    assert "access-control-allow-origin" not in headers


def test_a_request_may_not_be_large(page):
    large = str(MOST_BYTES + 1)
    assert page.post("/api/runs/0/selection?name=a", **{"Content-Length": large}).status == 413
    assert page.get("/api/runs?" + "x" * 20_000).status == 414
    assert page.ask("PUT", "/api/runs", b"").status == 405
    chunks = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    answer = page.post(
        "/api/runs/0/selection?name=a",
        chunks * (MOST_BYTES // 2**20 + 2) + b"0\r\n\r\n",
        **{"Transfer-Encoding": "chunked", "Content-Length": None},
    )
    assert answer.status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/static/../config.yaml",
        "/static/%2e%2e%2fconfig.yaml",
        "/static//etc/passwd",
        "/api/runs/0/map?name=../../sim/gt/state_000.mrc",
        "/api/runs/0/map?name=/etc/passwd",
        "/api/runs/0/map.mrc?name=../../sim/gt/state_000.mrc",
        "/api/runs/0/selection?name=../../rows",
        "/api/runs/0/download?name=..%2f..%2frows&ending=.pkl",
        "/api/runs/0/download?name=a&ending=/../../rows.pkl",
        "/api/runs/0/selection?name=a%00b",
        "/api/runs/-1/selections",
        "/api/runs/0/column?group=latent&name=../z.pkl",
    ],
)
def test_no_path_leads_out_of_the_run(page, path):
    answer = page.get(path)
    assert answer.status in {404, 422}
    assert "error" in answer.json


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a.b", "x" * 65, "-x", "ä"])
def test_a_name_that_is_no_name_writes_nothing(page, trained, name):
    before = contents(trained)
    quoted = "".join(f"%{byte:02x}" for byte in name.encode())
    assert page.post(f"/api/runs/0/selection?name={quoted}", ROWS).status == 422
    assert page.post(f"/api/runs/0/export?name={quoted}").status == 422
    assert contents(trained) == before


def test_a_selection_that_is_a_link_is_not_served(runs, tmp_path):
    secret = tmp_path / "secret.pkl"
    secret.write_bytes(b"secret")
    folder = runs / "vae/selections"
    folder.mkdir()
    (folder / "leak.pkl").symlink_to(secret)
    with serving(runs / "vae") as page:
        answer = page.get("/api/runs/0/download?name=leak")
    assert answer.status == 404
    assert "is a link" in answer.json["error"]


def test_a_map_that_is_a_link_out_of_the_run_is_not_served(runs, tmp_path):
    secret = tmp_path / "secret.mrc"
    shutil.copyfile(runs / "linear/mean.mrc", secret)
    (runs / "linear/mean.mrc").unlink()
    (runs / "linear/mean.mrc").symlink_to(secret)
    with serving(runs / "linear") as page:
        for path in ("map", "map.mrc"):
            answer = page.get(f"/api/runs/0/{path}?name=mean.mrc")
            assert answer.status == 404
            assert "a link out of" in answer.json["error"]


def test_a_folder_of_selections_that_is_a_link_is_not_written_through(runs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (runs / "vae/selections").symlink_to(tmp_path / "elsewhere")
    with serving(runs / "vae") as page:
        answer = page.post("/api/runs/0/selection?name=a", ROWS)
    assert answer.status == 422
    assert "link to another folder" in answer.json["error"]
    assert not list((tmp_path / "elsewhere").iterdir())


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


ROUTES = [
    "/",
    "/static/page.js",
    "/static/{}",
    "/api/runs",
    "/api/runs/{}",
    "/api/runs/0",
    "/api/runs/1/columns",
    "/api/runs/0/progress?seen={}",
    "/api/runs/0/columns?epoch={}",
    "/api/runs/0/file-columns",
    "/api/runs/0/column?group={}&name={}",
    "/api/runs/0/column?group=latent&name={}&epoch={}",
    "/api/runs/1/column?group=clusters&name={}",
    "/api/runs/0/column-names?group=clusters&name={}",
    "/api/runs/0/latent?row={}",
    "/api/runs/1/latent?row={}&epoch={}",
    "/api/runs/0/pictures?row={}",
    "/api/runs/0/volume?z={}",
    "/api/runs/0/volume?z=0,{}&side={}",
    "/api/runs/1/volume?z=0,0&side={}",
    "/api/runs/1/volume?z=0,0&page={}&turn={}",
    "/api/runs/0/volume.mrc?z={}&side={}&epoch={}",
    "/api/runs/1/map?name={}",
    "/api/runs/1/half-maps",
    "/api/runs/0/selections",
    "/api/runs/0/selection?name={}",
    "/api/runs/0/export?name={}",
    "/api/runs/0/download?name={}&ending={}",
    "/api/runs/0/selection?name=a&seen={}",
    "/{}",
    "/api/{}",
]
VALUES = [
    "0",
    "1",
    "-1",
    "99",
    "1e9",
    "1e999",
    "nan",
    "inf",
    "1,2",
    "a",
    "latent",
    "clusters",
    "2",
    "8",
    ".pkl",
    ".star",
    "../../x",
    "/etc/passwd",
    "%00",
    "%ff",
    "%c3%28",
    "%f0%9f%a7%ac",
    "%c2%b2",
    "7" * 5000,
    "%2e%2e%2f",
    "%0d%0a",
    "PC1",
    "z1",
    "mean.mrc",
    "9999999999999999999999",
    "';",
    "{}",
    "<script>",
    "%25",
    "+",
    ",",
    ",,",
    "&",
    "=",
    "#",
    "config.yaml",
]


def test_a_thousand_random_requests_are_answered_and_write_nothing_else(runs):
    chance = random.Random(0)

    def word() -> str:
        if chance.random() < 0.1:
            return "".join(f"%{chance.randrange(256):02x}" for _ in range(chance.randrange(9)))
        return chance.choice(VALUES)

    def path() -> str:
        route = chance.choice(ROUTES)
        while "{}" in route:
            route = route.replace("{}", word().replace("{}", "%7b%7d"), 1)
        return route.replace(" ", "%20")

    before = contents(runs)
    statuses: dict[int, int] = {}
    with serving(runs / "vae", runs / "linear") as page:
        for _ in range(1000):
            method = chance.choice(["GET"] * 6 + ["POST"] * 3 + ["HEAD", "DELETE"])
            body = None if method != "POST" else chance.randbytes(chance.choice([0, 4, 7, 400]))
            asked = path()
            answer = page.ask(method, asked, body)
            assert answer.status < 500, (method, asked, body)
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
    assert statuses[200] > 50
    written = {name for name, state in contents(runs).items() if before.get(name) != state}
    assert all(Path(name).parent.name == "selections" for name in written), written


def test_a_port_that_is_taken_gives_way_to_the_next(runs):
    with serving(runs / "vae") as first:
        port = first.server.port
        other = PageServer([runs / "vae"], "127.0.0.1", port, torch.device("cpu"))
        assert port < other.port < port + 20
        other._socket.close()
    with pytest.raises(ConfigError, match="nothing can listen on 203.0.113.1"):
        PageServer([runs / "vae"], "203.0.113.1", 5050, torch.device("cpu"))


def test_ports_that_browsers_do_not_open_are_passed_over(runs):
    cpu = torch.device("cpu")
    server = PageServer([runs / "vae"], "127.0.0.1", 5060, cpu)
    assert 5061 < server.port < 5080
    server._socket.close()


def test_servers_of_two_machines_do_not_take_each_others_cookies(runs, monkeypatch):
    # Tunnels make one name of both, and browsers ask for no port.
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(serving_module.socket, "gethostname", lambda: "another-machine")
        mark = serving_module._mark_of_machine()
    with serving(runs / "vae") as page:
        others = f"cryodrgn_{page.server.port}_{mark}=x"
        assert page.get("/", Cookie=f"{others}; {page.cookie}").status == 200
        assert page.get("/", Cookie=others).status == 401
        assert not page.cookie.startswith(others[:-1])


def test_who_comes_without_the_token_reads_a_sentence(page):
    answer = page.get("/", Cookie=None, Accept="text/html,*/*;q=0.8")
    assert answer.status == 401
    assert answer.content.decode().startswith("the token is missing or another server's: open")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "token is missing" in page.get("/api/runs", Cookie=None).json["error"]


def test_runs_of_one_name_are_told_apart_and_a_run_given_twice_is_one(runs, tmp_path):
    first, second = tmp_path / "a/vae", tmp_path / "b/vae"
    for copy in (first, second):
        shutil.copytree(runs / "vae", copy)
    with serving(first, second, runs / "linear", runs / "linear", first) as page:
        listed = page.get("/api/runs").json["runs"]
    assert [run["name"] for run in listed] == ["a/vae", "b/vae", "linear"]


def test_a_run_that_is_deleted_while_its_page_is_open_is_said_to_be_gone(runs):
    with serving(runs / "vae", runs / "linear") as page:
        shutil.rmtree(runs / "vae")
        listed = page.get("/api/runs").json["runs"]
        assert "deleted or moved" in listed[0]["gone"]
        assert listed[1] == {"name": "linear", "path": str(runs / "linear")}
        for path in ("progress", "columns", "selections", "volume?z=0,0", "pictures?row=0"):
            answer = page.get(f"/api/runs/0/{path}")
            assert answer.status == 404
            assert "is gone" in answer.json["error"]
        assert page.post("/api/runs/0/selection?name=a", ROWS).status == 404
    assert not (runs / "vae").exists()
