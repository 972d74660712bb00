"""The examples in the documentation run."""

import doctest
from pathlib import Path

import featstore
from featstore.exchange import export as convert
from tests.folders import DOCS
from tests.stores import contents, write_store

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NAME = "cabin-abababababab.zarr"


def run(page: Path) -> doctest.TestResults:
    """Run the examples of a page of Markdown, whose fences are no output of theirs."""
    lines = page.read_text("utf-8").splitlines()
    text = "\n".join("" if line.startswith("```") else line for line in lines)
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert test.examples
    return doctest.DocTestRunner(optionflags=FLAGS).run(test)


def test_python_examples(tmp_path, bucket, monkeypatch, capsys) -> None:
    made = contents(title="cabin")
    made.columns["clip_id"][...] = [f"run/{number}" for number in range(5)]
    (tmp_path / "features").mkdir()
    store = featstore.open(write_store(tmp_path / "features" / NAME, made))
    convert.upload(store, f"{bucket}/{NAME}")
    monkeypatch.chdir(tmp_path)
    results = run(DOCS / "python.md")
    assert results.failed == 0, capsys.readouterr().out
    assert results.attempted > 20


def test_numbers_in_the_documentation_are_those_of_the_code() -> None:
    from featstore.format.layout import CHUNK_BYTES
    from featstore.format.rows import CACHE_BYTES
    from featstore.format.shuffle import BLOCK_CHUNKS, GROUP_BYTES
    from featstore.reading.stream import READERS

    page = (DOCS / "reading.md").read_text("utf-8")
    assert (BLOCK_CHUNKS, READERS) == (4, 4)
    assert "four neighbouring chunks" in page
    assert "four threads" in page
    assert f"`CACHE_BYTES` ({CACHE_BYTES // 2**20} MiB" in page
    assert f"`GROUP_BYTES` ({GROUP_BYTES // 2**20} MiB)" in page
    assert (
        f"{GROUP_BYTES // CHUNK_BYTES} is what fits with chunks of {CHUNK_BYTES >> 20} MiB" in page
    )
