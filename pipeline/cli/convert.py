"""``featstore export`` and ``featstore import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from featstore.format.codecs import COMPRESSIONS, DTYPES
from featstore.manage.catalogue import DEFAULT_STORE_ROOT
from featstore.writing.destinations import SUFFIX_OF
from pipeline.cli.flags import DEFAULT, FOLDER, OLD_ROOT, OLD_STORE, Rate, read, write
from pipeline.cli.help import command
from pipeline.cli.terminal import say
from pipeline.sources.subjects import SUBJECT_HELP

FILE = click.Path(path_type=Path)


@command(
    renamed=OLD_ROOT,
    examples=(
        "featstore export STORE features.h5",
        "featstore export STORE arrays --format npy",
        "featstore export STORE s3://bucket/name.zarr --dtype float16",
    ),
)
@click.argument("store")
@click.argument("dest")
@FOLDER
@write("--format", "form", type=click.Choice(["npy", "zarr", "hdf5", "zip"]),
       help="Format of DEST.  [default: by the suffix of DEST; npy without one]")  # fmt: skip
@write("--dtype", type=click.Choice(DTYPES),
       help="float16 halves the size and changes the key.  [default: as in STORE]")  # fmt: skip
@write("--compression", type=click.Choice(COMPRESSIONS),
       help="How features are compressed.  [default: as in STORE]")  # fmt: skip
def export(
    store: str,
    dest: str,
    folder: Path,
    dtype: str | None,
    compression: str | None,
    form: str | None,
) -> None:
    """Write a store in another format, or to another place.

    STORE is its path or URL, or the beginning of its key or name. DEST ends in .zarr, .h5 or
    .zarr.zip (an archive to read from), is a URL such as s3://bucket/name.zarr, or is a folder that
    gets one .npy per clip and a table clips.csv. Existing files are never overwritten.
    """
    from featstore.exchange import export as convert
    from featstore.exchange.export import codec_for
    from featstore.format.files import is_remote
    from featstore.manage.catalogue import find
    from featstore.manage.provenance import copy_provenance
    from featstore.reading.store import open_store
    from featstore.urls import without_credentials
    from featstore.writing.destinations import format_of

    form = format_of(dest, form)
    opened = open_store(find(folder, store))
    codec = codec_for(opened, form, dtype, compression)
    key = convert.contents_of(opened, codec).attributes["key"]
    error = convert.export(opened, dest, form, codec)
    if not is_remote(dest):
        facts: dict[str, Any] = {"exported": opened.key}
        copy_provenance(opened.path, Path(dest), **facts, **(_float16(error)))
    _say_error(error)
    say(f"{without_credentials(str(dest))} {key}")


@command(
    "import",
    renamed=OLD_STORE,
    examples=(
        "featstore import arrays --labels labels.csv",
        "featstore import arrays --labels labels.csv --suffix rgb --fps 25 --name kinetics",
        "featstore import MP_Data --folds 5 --fold 0 --fps 15",
        "featstore import data/gtea --split 1 --fps 15 --subject '(S\\d+)_'",
        "featstore import anet_features --labels activity_net.v1-3.min.json --allow-missing",
    ),
)
@click.argument("source", type=FILE)
@read("--labels", type=FILE,
      help="CSV with one row per clip: file or clip_id, label, split; where known, subject, "
      "video, start, end. Or ActivityNet's JSON.  [default: SOURCE holds the labels]")  # fmt: skip
@read("--split", type=int, help="Number of the split in MS-TCN's layout.")
@read("--folds", type=int, help="Split by subject into this many folds instead.")
@read("--fold", type=int, help="Fold that becomes test, from 0; the next becomes val.")
@read("--subject", help=SUBJECT_HELP)
@read("--classes", type=FILE, help="Class list: a file with one name per line.  "
      "[default: the labels found]")  # fmt: skip
@read("--fps", type=Rate(), help="Steps per second, where no NAME_timestamps_ms.npy says "
      "their times.")  # fmt: skip
@read("--suffix", help="What follows the clip id in file names, such as rgb.  "
      "[default: what most have]")  # fmt: skip
@read("--allow-unlisted", is_flag=True, help="Skip files that have no row.")
@read("--allow-missing", is_flag=True, help="Skip clips that have no file.")
@write("--stores", "store", type=click.Path(path_type=Path, file_okay=False),
       default=DEFAULT_STORE_ROOT, show_default=True, help="Folder of stores.")  # fmt: skip
@write("--name", help="Title of the store.  [default: the name of SOURCE]")
@write("--format", type=click.Choice(tuple(SUFFIX_OF)), default=DEFAULT.format, show_default=True,
       help="Format of the store.")  # fmt: skip
@write("--compression", type=click.Choice(COMPRESSIONS), default=DEFAULT.compression,
       show_default=True, help="How features are compressed.")  # fmt: skip
@write("--dtype", type=click.Choice(DTYPES),
       help="Precision of the stored features.  [default: float16 where every array is, "
       "else float32]")  # fmt: skip
def import_(**given: Any) -> None:
    """Make a store of features that another program extracted.

    With --labels, SOURCE is a folder with one .npy per clip, of shape (steps, dim) or (dim,), as
    video_features writes it, or one .npy of all clips in the order of the rows. Without, it has
    class folders, CLASS/CLIP.npy or CLASS/CLIP/STEP.npy, alone or in train, val and test; or it has
    the layout of MS-TCN: features, groundTruth, mapping.txt and splits. The last line is the
    store's path and key. The same arrays and labels are imported only once.
    """
    from featstore.manage.catalogue import remember_last
    from pipeline.build.summary import caveats
    from pipeline.ingest.ingest import describe_import, import_store, prepare_import
    from pipeline.ingest.plan import ImportOptions

    imported = prepare_import(ImportOptions(**given), say)
    for line in describe_import(imported):
        say(line)
    for line in caveats(subjects_known=imported.dataset.subjects_known, untrained=False):
        say(line)
    if imported.there:
        remember_last(imported.options.store, imported.path)
        say("already there: nothing to do")
    else:
        _say_error(import_store(imported, say))
    say(f"{imported.path} {imported.key}")


def _float16(error: dict[str, float] | None) -> dict[str, Any]:
    return {"float16_error": error} if error else {}


def _say_error(error: dict[str, float] | None) -> None:
    if error:
        relative, largest = error["relative_rms"], error["largest_absolute"]
        say(f"float16 error: {relative:.2g} relative (rms), {largest:.2g} at most")
