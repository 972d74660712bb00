"""Build features like those of a trained run, or of another store: ``--like``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featstore.errors import InputError
from featstore.format.opening import read_attributes
from featstore.keys import canonical_json, with_values
from featstore.manage.catalogue import DEFAULT_STORE_ROOT, find
from featstore.reading.store import open_store
from pipeline.build.plan.options import EXTRACTION
from pipeline.build.plan.weights import RANDOM, hub_files
from pipeline.option_values import flag_of
from pipeline.runs.files import read_config, read_metrics
from pipeline.sources.labels import ClassList
from pipeline.video.cache import CACHE_FILE, Cache, content_hash

# The options that `Like` takes from a run or a store.
DECIDED = (
    *("pixels", "decoder", "size", "fit", "fps", "window", "hop", "normalise", "backbone"),
    *("precision", "dtype", "image_fps", "every_frame", "resample", "features"),
    *("view_number", "view_flip"),
)
# Absent from the configuration of features where they change nothing.
RARE_FIELDS = {"precision": "float32", "resample": "bilinear", "features": "pooled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """Everything that decides features and classes, as a run or a store has it.

    Attributes
    ----------
    origin : str
        The path of the run or the store.
    features : dict
        The feature configuration, with mean and std by value.
    classes : tuple of str
    weights : str
        Identity of the backbone's weights; see `pipeline.build.plan.weights.Weights`.
    places : tuple of Path
        Folders of stores whose caches may know the weights file.
    """

    origin: str
    features: dict[str, Any]
    classes: tuple[str, ...]
    weights: str
    places: tuple[Path, ...]

    @property
    def class_list(self) -> ClassList:
        """The classes, for a source."""
        return ClassList(self.classes, {}, f"the classes of {self.origin}")

    def options(self) -> dict[str, Any]:
        """Return the fields of `BuildOptions` that give these features."""
        features = self.features
        moments = features["normalise"]
        every_frame = features["fps"] == "every frame"
        window, view = features["window"], features.get("view")
        return {
            **{name: features[name] for name in ("pixels", "decoder", "size", "fit", "backbone")},
            **{name: features.get(name, default) for name, default in RARE_FIELDS.items()},
            "architecture": canonical_json(features["architecture"])
            if "architecture" in features
            else "",
            "dtype": features["dtype"],
            "image_fps": features["image_fps"],
            "fps": None if every_frame else features["fps"],
            "every_frame": every_frame,
            "normalise": ",".join(map(repr, [*moments["mean"], *moments["std"]])),
            **({} if window is None else {"window": window[0], "hop": window[1]}),
            **({} if view is None else {"view_number": view["number"], "view_flip": view["flip"]}),
        }

    def find_weights(self) -> str:
        """Return the text of ``--weights`` that names these weights: ``random:SEED``, or a file.

        Raises
        ------
        InputError
            If no known file has this content.
        """
        if self.weights.startswith(RANDOM):
            return self.weights
        sha256 = self.weights.removeprefix("sha256:")
        for path in (*_cached(self.places, sha256), *_downloaded(self.backbone, sha256)):
            return str(path)
        raise InputError(
            f"The weights of {self.origin} ({self.weights[:19]}) are not where they were; give "
            "their file with --weights FILE."
        )

    @property
    def backbone(self) -> str:
        """Name of the backbone."""
        return str(self.features["backbone"])

    def check_weights(self, text: str, identity: str) -> None:
        """Refuse weights with another content.

        Raises
        ------
        InputError
        """
        if identity != self.weights:
            raise InputError(
                f"--weights is {text}, whose content is {identity[:19]}, and {self.origin} was "
                f"made with {self.weights[:19]}; give that file."
            )


def read_like(text: str | Path, root: Path | None = None) -> Like:
    """Read what decides the features of a run or a store.

    Parameters
    ----------
    text : str or Path
        The folder of a run; or the path, URL, name or key of a store.
    root : Path, optional
        Folder of stores.

    Raises
    ------
    InputError
        If it is neither, or its features cannot be computed from videos here.
    """
    root = root or DEFAULT_STORE_ROOT
    if (Path(text) / "config.yaml").is_file():
        return _of_run(Path(text), root)
    path = find(root, str(text))
    store, attributes = open_store(path), read_attributes(path)
    places = (path.parent, root) if isinstance(path, Path) else (root,)
    return _like(
        str(text), attributes["features"], attributes.get("statistics"), store.classes, places
    )


def _of_run(run: Path, root: Path) -> Like:
    trained = read_config(run)["store"]
    path = trained["path"]
    if not isinstance(path, str):
        raise InputError(
            f"{run} was trained on {len(path)} stores, and one is built at a time; name one of "
            f"them: {', '.join(path)}."
        )
    features = read_metrics(run)["features"]
    places = (Path(path).parent, root)
    return _like(str(run), features, trained["statistics"], trained["classes"], places)


def _like(
    origin: str,
    features: Mapping[str, Any],
    statistics: Mapping[str, Any] | None,
    classes: Sequence[str],
    places: tuple[Path, ...],
) -> Like:
    if statistics is None or "backbone" not in features:
        raise InputError(
            f"The features of {origin} were imported, so they cannot be computed from videos; "
            "import the new ones with `featstore import`."
        )
    if features.get("extraction") != EXTRACTION:
        raise InputError(
            f"{origin} has features of extraction {features.get('extraction')}, and this "
            f"featstore computes those of {EXTRACTION}; build and train again."
        )
    return Like(
        origin=origin,
        features=with_values(features, statistics["mean"], statistics["std"]),
        classes=tuple(classes),
        weights=features["weights"],
        places=tuple(dict.fromkeys(places)),
    )


def refuse_decided(like: str, options: Mapping[str, Any]) -> None:
    """Refuse options that `--like` decides.

    Raises
    ------
    InputError
    """
    both = [name for name in DECIDED if options.get(name) not in (None, False)]
    if both:
        flags = ", ".join(flag_of("fps" if name == "every_frame" else name) for name in both)
        raise InputError(f"--like {like} decides {flags}; leave out one of the two.")


def _cached(places: Iterable[Path], sha256: str) -> Iterable[Path]:
    """Yield unchanged files with this content that folders of stores know."""
    for folder in places:
        if (file := folder / CACHE_FILE).is_file():
            cache = Cache(file)
            try:
                yield from cache.files_of(sha256)
            finally:
                cache.close()


def _downloaded(backbone: str, sha256: str) -> Iterable[Path]:
    """Yield torchvision's downloaded files of a backbone with this content."""
    return (path for path in hub_files(backbone) if content_hash(path) == sha256)
