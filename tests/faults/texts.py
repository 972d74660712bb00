"""Tables, recipes, files of runs and metadata of stores with odd content, and crafted files."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from PIL import Image

import featstore
from featstore.exchange.export import codec_for, export
from featstore.exchange.npy_folder import DESCRIPTION
from featstore.format.seal import sealed, sha256, unsealed
from featstore.manage.catalogue import entries, unreadable
from featstore.manage.verify import verify
from pipeline.build.build import build
from pipeline.build.plan.build_plan import cache_of, plan_build
from pipeline.cli.store_facts import entry_facts
from pipeline.cli.store_text import listing
from pipeline.ingest.ingest import prepare_import
from pipeline.ingest.plan import ImportOptions
from pipeline.report.run import report
from pipeline.runs.files import read_metrics
from pipeline.sources.lists import Lists
from pipeline.sources.table import Table
from pipeline.sweep import load_space
from pipeline.train.evaluate import own_store, rescore
from pipeline.train.recipes.load import load_recipe
from pipeline.train.train import train
from pipeline.video.decode import decode
from pipeline.video.images import index_images
from pipeline.video.index import read_index
from tests.builds import options_of, silent, write_dataset
from tests.faults.outcomes import Trial, outcome_of
from tests.stores import contents, write_store
from tests.sweeps import FIELDS

ODD: list[Any] = [
    *(None, True, -1, 0, 2**70, 1e308, float("nan"), float("inf"), 0.5, "", " ", "x" * 10_000),
    *("\ud800", "\x00", "é\u0301", "../../x", "1e5", "=cmd()", "<script>", [], {}, [[]], {"": {}}),
    [None],
]
TABLE = "video,start,end,label,subject,split\n" + "".join(
    f"v{n}.mp4,{n},{n + 9},l{n % 2},s{n % 3},{('train', 'val', 'test')[n % 3]}\n" for n in range(12)
)
CELLS = ("", "-1", "1e3", "nan", "٣", "9" * 400, '"', "\x00", ",", ";", "\r", "train ", "Ⅷ", "1:2")
RECIPE = yaml.safe_dump(load_recipe("tcn").model_dump())
SPACE = yaml.safe_dump({"recipe": "linear", "trials": 2, "space": {"train.lr": FIELDS["train.lr"]}})


def tables(folder: Path, rng: np.random.Generator) -> Trial:
    """Read a table of clips, a path-label list or a table of splits."""
    path = folder / "clips.csv"
    path.write_bytes(_text(TABLE, rng, CELLS))
    for number in range(12):
        (folder / f"v{number}.mp4").touch()
    if rng.random() < 0.2:
        (folder / "classes.txt").write_bytes(_text("0 a\n1 b\n2 c\n", rng, CELLS))
        source = Lists(
            data=folder,
            train_list=path,
            val_list=path,
            test_list=path,
            classes=folder / "classes.txt",
        )
        return outcome_of(source.read)
    return outcome_of(lambda: Table(data=path).read())


def recipes(folder: Path, rng: np.random.Generator) -> Trial:
    """Read a recipe or a space, whose text or tree was changed."""
    text, read = ((RECIPE, load_recipe), (SPACE, load_space))[int(rng.integers(2))]
    path = folder / "odd.yaml"
    if rng.random() < 0.5:
        path.write_bytes(_text(text, rng, ("*a", "&a", "!!int", "- ", "{", "<<: ", "0x_", "\t")))
    else:
        path.write_bytes(_dump(_tree(yaml.safe_load(text), rng)))
    return outcome_of(partial(read, path))


def run_files(folder: Path, rng: np.random.Generator) -> Trial:
    """Use a run or an export of which one file was changed."""
    home = a_run(folder.parent)
    name = ("run/metrics.json", "run/config.yaml", f"arrays/{DESCRIPTION}", "run/predictions.csv")
    which = name[int(rng.integers(len(name)))]
    part = which.split("/")[0]
    shutil.copytree(home / part, folder / part)
    path = folder / which
    if path.suffix == ".csv" or rng.random() < 0.3:
        path.write_bytes(_text(path.read_text("utf-8"), rng, CELLS))
    else:
        loads = yaml.safe_load if path.suffix == ".yaml" else json.loads
        path.write_bytes(_dump(_tree(loads(path.read_text("utf-8")), rng)))
    return outcome_of(partial(_use_run if part == "run" else _use_arrays, folder / part))


def _use_run(run: Path) -> None:
    report(run)
    metrics = read_metrics(run)
    rescore(run, own_store(run), "test")
    json.dumps(metrics)


def _use_arrays(arrays: Path) -> None:
    store = arrays.parent / "stores"
    prepare_import(ImportOptions(source=arrays, labels=arrays / "clips.csv", store=store), silent)


@cache
def a_run(home: Path) -> Path:
    """Train once on a small store; return the folder with `store.zarr`, `run` and `arrays`."""
    folder = home / "a-run"
    folder.mkdir()
    made = contents(
        [4] * 12, dim=8, chunk_rows=64, features={"imported": "arrays", "dtype": "float32"}
    )
    path = write_store(folder / "store.zarr", made)
    store = featstore.open(path)
    train(store, load_recipe("linear", ["train.epochs=1"]), out=folder / "run", log=silent)
    export(store, folder / "arrays", "npy", codec_for(store, "npy", None, None))
    return folder


def zarr_metadata(folder: Path, rng: np.random.Generator) -> Trial:
    """Open a Zarr store whose metadata were changed, and in half of the trials sealed again."""
    original = write_store(folder / "store.zarr", contents())
    names = sorted(original.rglob("zarr.json"))
    path = names[int(rng.integers(len(names)))]
    again = rng.random() < 0.5
    if rng.random() < 0.5:
        path.write_bytes(_text(path.read_text(), rng, ("null", "[", "{", "-1", '"', "9" * 30)))
    else:
        path.write_bytes(_dump(_tree(json.loads(path.read_bytes()), rng)))
    if again:
        _seal_again(original)
    return outcome_of(partial(_use_store, original))


def _seal_again(store: Path) -> None:
    """Write a seal over what is there, as somebody would who wants it to be opened."""
    root = store / "zarr.json"
    try:
        tree = json.loads(root.read_bytes())
        attributes = unsealed(tree["attributes"])
        files = {
            str(path.relative_to(store)): sha256(path.read_bytes())
            for path in store.rglob("*")
            if path.is_file() and path != root
        }
        tree["attributes"] = sealed(attributes, files)
        root.write_text(json.dumps(tree))
    except (ValueError, TypeError, KeyError, AttributeError):
        return


def hdf5_metadata(folder: Path, rng: np.random.Generator) -> Trial:
    """Open an HDF5 store of which bytes, attributes or arrays were changed."""
    whole = featstore.open(write_store(folder / "store.zarr", contents()))
    path = folder / "store.h5"
    export(whole, path, "hdf5", codec_for(whole, "hdf5", None, None))
    shutil.rmtree(folder / "store.zarr")
    if rng.random() < 0.6:
        content = bytearray(path.read_bytes())
        for _ in range(int(rng.integers(1, 5))):
            content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path.write_bytes(content)
    else:
        with h5py.File(path, "r+") as file:
            names = [name for name in file if name != "features"]
            name = names[int(rng.integers(len(names)))]
            value = ODD[int(rng.integers(len(ODD)))]
            del file[name]
            if isinstance(value, int | float) and abs(value) < 2**63:
                file[name] = np.full(3, value)
            elif rng.random() < 0.5:
                file[name] = h5py.ExternalLink("/etc/passwd", "/")
    return outcome_of(partial(_use_store, path))


def _use_store(path: Path) -> None:
    """Do with a store what commands do: list, describe, verify, open and read it."""
    list(unreadable(path.parent))
    listing([entry_facts(entry, 0) for entry in entries(path.parent)])
    try:
        list(verify(path))
    finally:
        store = featstore.open(path, check=True)
        for clip in store:
            np.asarray(clip).sum()
        store.to_pandas()
        store.clip_keys()
        repr(store)


def crafted(folder: Path, rng: np.random.Generator) -> Trial:
    """Give a file that was made to do harm to what reads such files."""
    write, use = CRAFTED[int(rng.integers(len(CRAFTED)))]
    path = write(folder)
    trial = outcome_of(partial(use, path))
    if (folder / "harm").exists():
        return Trial("SILENTLY WRONG", f"{write.__name__}: what the file holds was executed")
    if trial.outcome == "accepted":
        return Trial("SILENTLY WRONG", f"{write.__name__}: was accepted")
    return Trial(trial.outcome, f"{write.__name__}: {trial.detail}")


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _pickled(folder: Path) -> Path:
    write_dataset(folder / "data")
    torch.save({"a": _Harm(folder / "harm")}, folder / "weights.pth")
    (folder / "plain.pth").write_bytes(pickle.dumps(_Harm(folder / "harm")))
    return folder / "weights.pth"


def _build_with(weights: Path) -> None:
    data, stores = weights.parent / "data" / "clips.csv", weights.parent / "stores"
    options = options_of(data, stores, weights=str(weights))
    with closing(cache_of(options.store)) as cache:
        build(plan_build(options, cache, silent), cache, silent)


def _bomb_of_aliases(folder: Path) -> Path:
    lines = [f"- &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (folder / "bomb.yaml").write_text("\n".join(["- &a0 [x]", *lines]))
    return folder / "bomb.yaml"


def _deep_json(folder: Path) -> Path:
    path = write_store(folder / "store.zarr", contents())
    (path / "zarr.json").write_text("[" * 100_000)
    return path


def _playlist(folder: Path) -> Path:
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    return folder / "list.mp4"


def _zip_of_zeros(folder: Path) -> Path:
    path = folder / "store.zarr.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", b" " * 2**27)
    return path


def _large_image(folder: Path) -> Path:
    (folder / "frames").mkdir()
    image = Image.new("1", (40_000, 40_000))
    image.save(folder / "frames" / "frame_0001.png")
    return folder / "frames"


def _huge_array(folder: Path) -> Path:
    with h5py.File(folder / "store.h5", "w", userblock_size=4096) as file:
        file.create_dataset("features", (2**40, 512), "f4", chunks=(1024, 512))
    return folder / "store.h5"


def _decode_images(folder: Path) -> None:
    index = index_images(folder, None)
    list(decode(folder, index, np.arange(len(index)), "luma"))


CRAFTED: list[tuple[Callable[[Path], Path], Callable[[Path], Any]]] = [
    (_pickled, _build_with),
    (_pickled, lambda path: _build_with(path.with_name("plain.pth"))),
    (_bomb_of_aliases, load_recipe),
    (_deep_json, featstore.open),
    (_playlist, read_index),
    (_zip_of_zeros, featstore.open),
    (_large_image, _decode_images),
    (_huge_array, featstore.open),
]


def _text(text: str, rng: np.random.Generator, pieces: tuple[str, ...]) -> bytes:
    """Change some bytes, lines or words of a text."""
    content = bytearray(text.encode())
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(content) + 1)), int(rng.integers(6))
        end = at + int(rng.integers(1, 20))
        if kind == 0:
            content[at:end] = b""
        elif kind == 1:
            content[at:at] = bytes(content[at:end])
        elif kind == 2:
            content[at : at + 1] = rng.bytes(1)
        elif kind == 3:
            del content[at:]
        else:
            content[at:at] = pieces[int(rng.integers(len(pieces)))].encode()
    return bytes(content)


def _tree(tree: Any, rng: np.random.Generator) -> Any:
    """Change a value, remove or rename a key, somewhere in a tree."""
    if isinstance(tree, dict | list) and tree and rng.random() < 0.85:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = keys[int(rng.integers(len(keys)))]
        changed = tree.copy()
        kind = rng.random()
        if kind < 0.12:
            del changed[key]
        elif kind < 0.2 and isinstance(changed, dict):
            changed[f"{key}x"] = changed.pop(key)
        elif kind < 0.26 and isinstance(changed, list):
            changed.append(changed[key])
        else:
            changed[key] = _tree(tree[key], rng)
        return changed
    return ODD[int(rng.integers(len(ODD)))]


def _dump(tree: Any) -> bytes:
    # JSON is YAML as well, and says surrogates that a file in UTF-8 cannot hold.
    return json.dumps(tree).encode()
