"""What the server gives, to whom, and that it writes nothing unless told to."""

import csv
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

import featstore
from featstore import Store
from pipeline.browse.server import make_app
from pipeline.cli import main
from tests.pipeline.browse.conftest import CLIPS, TOKEN, write_clips, write_run


def get(client: FlaskClient, address: str, status: int = 200) -> Any:
    answer = client.get(f"/{TOKEN}/{address}")
    assert answer.status_code == status, answer.text
    return answer.json


def files_of(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_what_is_shown_of_stores_clips_and_runs(client: FlaskClient, browsed: Store) -> None:
    (listed,) = get(client, "stores/")["stores"]
    assert (listed["key"], listed["title"], listed["name"]) == (browsed.key, "test", "small.zarr")
    assert listed["runs"] == [{"name": "one", "recipe": "tcn", "part": "test", "top1": 0.5}]
    clips = get(client, f"stores/{browsed.key}/clips")
    assert clips["id"] == browsed.clip_ids.tolist()
    assert [clips["classes"][i] for i in clips["label"]] == browsed.label_names
    assert [clips["subjects"][i] for i in clips["subject"]] == browsed.subjects.tolist()
    assert [clips["parts"][i] for i in clips["split"]] == browsed.splits.tolist()
    assert clips["failed"] == [3]
    run = get(client, f"stores/{browsed.key}/runs/0")
    assert run["clips"] == browsed.split("test").tolist()
    assert {clips["classes"][i] for i in run["predicted"]} == {"walk"}
    near = get(client, f"stores/{browsed.key}/neighbours/0")
    assert all(clip != 0 and -1 <= cosine <= 1 for clip, cosine in near)
    mapped = get(client, f"stores/{browsed.key}/map/pca")
    assert len(mapped["clips"]) == len(mapped["points"]) == CLIPS - 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example"])
def test_another_host_name_is_refused(client: FlaskClient, host: str) -> None:
    for address in (f"/{TOKEN}/", f"/{TOKEN}/stores/"):
        assert client.get(address, headers={"Host": host}).status_code == 400
    assert client.get(f"/{TOKEN}/", headers={"Host": "localhost:9000"}).status_code == 200


def test_without_the_token_there_is_nothing(client: FlaskClient, browsed: Store) -> None:
    for address in ("/", "/stores/", "/wrong/", "/wrong/stores/", "/t0kené/", f"/{TOKEN[:-1]}/"):
        assert client.get(address).status_code == 404
    assert client.post(f"/wrong/stores/{browsed.key}/corrections", json={}).status_code == 404


@pytest.mark.parametrize(
    "address",
    ["../../etc/passwd", "%2e%2e/setup.cfg", "..%2f..%2fetc%2fpasswd", "server.py", "/etc/passwd",
     "stores/../clips", "stores/small.zarr/clips", "stores/..%2fsmall.zarr/clips",
     "stores/KEY/runs/1", "stores/KEY/runs/-1", "stores/KEY/video/60", "stores/KEY/video/../0",
     "stores/KEY/map/umap", "stores/KEY/neighbours/x"],
)  # fmt: skip
def test_no_address_leads_elsewhere(client: FlaskClient, browsed: Store, address: str) -> None:
    answer = client.get(f"/{TOKEN}/{address.replace('KEY', browsed.key)}")
    assert answer.status_code in (404, 422)
    assert "root:" not in answer.text


def test_nothing_comes_from_elsewhere(client: FlaskClient) -> None:
    for name in ("", "page.js", "page.css", "stores/"):
        answer = client.get(f"/{TOKEN}/{name}")
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "http" not in policy
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert not [
            word
            for word in answer.text.replace("http://www.w3.org/2000/svg", "").split()
            if "http:" in word or "https:" in word
        ]


def test_get_writes_nothing_and_post_only_the_table(tmp_path: Path, client: FlaskClient) -> None:
    store = featstore.open(write_clips(tmp_path / "small.zarr"))
    write_run(tmp_path / "run", store)
    client = make_app(tmp_path, TOKEN).test_client()
    before = files_of(tmp_path)
    base = f"stores/{store.key}"
    for address in ("", "stores/", *(f"{base}/{x}" for x in ("clips", "errors", "runs/0"))):
        assert client.get(f"/{TOKEN}/{address}").status_code == 200
    assert "known" in get(client, f"{base}/video/0", 422)["error"]
    assert client.get(f"/{TOKEN}/{base}/corrections").status_code == 405
    for bad in ({"99": "sit"}, {"0": "unknown"}, {"x": "sit"}, ["sit"]):
        answer = client.post(f"/{TOKEN}/{base}/corrections", json=bad)
        assert answer.status_code == 422, answer.text
    assert client.post(f"/{TOKEN}/{base}/corrections", data=json.dumps({})).status_code == 415
    assert files_of(tmp_path) == before
    sent = {"0": "walk", "1": None}
    written = client.post(f"/{TOKEN}/{base}/corrections", json=sent).json
    assert written is not None
    assert set(files_of(tmp_path)) - set(before) == {tmp_path / "small.zarr.corrected.csv"}
    assert (written["clips"], written["left_out"]) == (CLIPS - 2, 2)
    assert written["missing"] == ["v.mp4"]
    table = (tmp_path / "small.zarr.corrected.csv").read_text("utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert rows[0]["label"] == "walk"
    assert [row["clip_id"] for row in rows] == [
        clip for i, clip in enumerate(store.clip_ids) if i not in (1, 3)
    ]


def test_damaged_stores_and_runs_are_said(tmp_path: Path) -> None:
    path = write_clips(tmp_path / "small.zarr")
    store = featstore.open(path)
    run = write_run(tmp_path / "run", store)
    client = make_app(tmp_path, TOKEN).test_client()
    (run / "predictions.csv").write_text("clip,part,label,prediction,probability\nrun/é0,t,sit,x,1")
    assert "predictions.csv" in get(client, f"stores/{store.key}/runs/0", 422)["error"]
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["title"] = "other"
    (path / "zarr.json").write_text(json.dumps(root))
    listed = get(client, "stores/")
    assert listed["stores"] == []
    assert "small.zarr" in listed["damaged"][0]
    get(client, f"stores/{'0' * 64}/clips", 422)


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["browse", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "There is no folder" in result.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["browse", str(tmp_path), "--port", port])
    assert result.exit_code == 2
    assert "--port 0" in result.stderr
