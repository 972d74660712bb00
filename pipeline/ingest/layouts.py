"""Tell in which layout features and labels are, and list their clips."""

from __future__ import annotations

from featstore.errors import InputError
from featstore.exchange.npy_folder import DESCRIPTION, TABLE
from pipeline.ingest.activitynet import list_activitynet
from pipeline.ingest.folders import list_folders
from pipeline.ingest.mstcn import is_mstcn, list_mstcn
from pipeline.ingest.plan import ImportOptions, Listing
from pipeline.ingest.table import list_table


def list_clips(options: ImportOptions) -> Listing:
    """Return the clips of the layout that the options describe.

    The labels are in ``options.labels``, a CSV or ActivityNet's JSON. Without it, they are in
    the source: a folder of `featstore export`, MS-TCN's layout, or class folders.

    Raises
    ------
    InputError
    """
    source, labels = options.source, options.labels
    if labels is None and (source / DESCRIPTION).is_file():
        labels = source / TABLE
    mstcn = labels is None and is_mstcn(source)
    if options.split is not None and not mstcn:
        raise InputError(
            f"--split is {options.split}, but only MS-TCN's layout has numbered splits; remove it."
        )
    if labels is not None:
        json = labels.suffix.casefold() == ".json"
        return list_activitynet(options, labels) if json else list_table(options, labels)
    if options.suffix is not None:
        raise InputError(f"--suffix is {options.suffix!r}, but there is no --labels; remove it.")
    if not source.is_dir():
        if source.is_file():
            raise InputError(f"{source} has no labels; pass --labels FILE.")
        raise InputError(f"{source} does not exist; pass a folder of .npy files, or one .npy.")
    return list_mstcn(options) if mstcn else list_folders(options)
