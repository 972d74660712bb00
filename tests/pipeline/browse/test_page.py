"""The page in a browser: filters, keys, label errors, corrections, and no complaint."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.serving import make_server

import featstore
from benchmarks.chromium import Chromium
from pipeline.browse.server import make_app
from tests.browsing import needs_chromium
from tests.pipeline.browse.conftest import CLIPS, PLANTED, TOKEN, write_clips, write_run

pytestmark = needs_chromium


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Chromium]:
    """The page over a folder of one store, in a dark window."""
    root = tmp_path / "stores"
    root.mkdir()
    write_run(root / "run", featstore.open(write_clips(root / "small.zarr")))
    server = make_server("127.0.0.1", 0, make_app(root, TOKEN), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with Chromium(tmp_path / "profile", dark=True) as browser:
            address = f"http://127.0.0.1:{server.server_port}/{TOKEN}/"
            browser.call("Page.navigate", url=address)
            browser.until("points && !$('state').textContent")
            yield browser
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def choose(page: Chromium, name: str, value: str) -> None:
    page.run(f"$('{name}').value = '{value}'; $('{name}').dispatchEvent(new Event('change'))")


def press(page: Chromium, *keys: str) -> None:
    for key in keys:
        event = f"new KeyboardEvent('keydown', {{ key: '{key}' }})"
        page.run(f"$('list').dispatchEvent({event})")


def test_filters_keys_label_errors_and_corrections(page: Chromium, tmp_path: Path) -> None:
    count = "$('count').textContent"
    assert page.run(count) == f"{CLIPS} of {CLIPS} clips"
    for name, value, kept in (
        ("label", "1", 30 - 2 + 1),
        ("subject", "2", CLIPS // 5),
        ("split", "2", CLIPS // 5),
        ("predicted", "0", 0),
        ("predicted", "1", CLIPS // 5),
        ("outcome", "right", 6),
        ("outcome", "wrong", 6),
    ):
        choose(page, name, value)
        assert page.run(count) == f"{kept} of {CLIPS} clips", (name, value)
        choose(page, name, "")
    page.run("$('text').value = 'É1'; $('text').dispatchEvent(new Event('input'))")
    assert page.run(count) == f"11 of {CLIPS} clips"  # 1, and 10 to 19
    page.run("$('text').value = ''; $('text').dispatchEvent(new Event('input'))")

    press(page, "ArrowDown", "ArrowDown", "End")
    assert page.run("[selected, document.querySelector('[aria-selected=true]').dataset.clip]") == [
        CLIPS - 1,
        str(CLIPS - 1),
    ]
    page.until("$('video-error').textContent.includes('v.mp4')")
    page.until("$('neighbours').children.length === 12")

    choose(page, "show", "errors")
    page.until("errors && shown.length === errors.size")
    assert sorted(page.run(f"shown.slice(0, {len(PLANTED)})")) == PLANTED
    press(page, "Home", "c")
    assert page.run("[...corrections]") == [
        [page.run("shown[0]"), "walk" if page.run("shown[0]") % 2 else "sit"]
    ]
    page.run("window.before = true; location.reload()")
    page.until("!window.before && points && corrections.size === 1")  # kept by the browser
    page.run("$('export').click()")
    page.until("$('written').open")
    table = tmp_path / "stores/small.zarr.corrected.csv"
    assert str(table) in page.run("$('command').textContent")
    assert table.is_file()
    assert page.run("document.querySelectorAll('b').length") == 0  # a class is named <b>never</b>
    # The clip has no video here: that answer, and nothing else, is on the console.
    assert all("/video/" in message for message in page.messages), page.messages
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
