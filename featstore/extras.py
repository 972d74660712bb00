"""Packages that only some commands need, and the message that names missing ones.

Reading stores and runs needs what ``pip install`` brings; each stage has an extra of its name.
"""

from __future__ import annotations

from importlib.util import find_spec

# The modules of every extra, and the packages that they come with, as setup.cfg has them.
BUILD = {
    "av": "av",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "torch": "torch",
    "torchvision": "torchvision",
}
TRAIN = {
    "annotated_types": "annotated-types",
    "matplotlib": "matplotlib",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "torch": "torch",
}
BROWSE = {"av": "av", "flask": "flask", "sklearn": "scikit-learn"}
TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow-skinny"}
EXTRAS = {
    **{"build": BUILD, "train": TRAIN, "all": BUILD | TRAIN, "browse": BROWSE},
    **{module: {module: package} for module, package in TRACKERS.items()},
}
EXTRA_OF = {
    **dict.fromkeys(("build", "stats", "why", "demo-data"), "build"),
    "browse": "browse",
    **dict.fromkeys(("predict", "export-model"), "all"),
    **dict.fromkeys(("train", "evaluate", "sweep", "compare", "report"), "train"),
}


def missing_packages(command: str, error: ModuleNotFoundError) -> str | None:
    """Return what to install for a command, or None if the missing module is in no extra.

    Parameters
    ----------
    command : str
        Such as ``build``.
    error : ModuleNotFoundError
        What an import raised.

    Examples
    --------
    >>> missing_packages("build", ModuleNotFoundError(name="no_such_module")) is None
    True
    """
    extra, missing = EXTRA_OF.get(command, "all"), (error.name or "").partition(".")[0]
    if missing in TRACKERS:
        extra = missing
    packages_of = EXTRAS["all"] | EXTRAS[extra]
    if missing not in packages_of:
        return None
    packages = [package for module, package in EXTRAS[extra].items() if not _is_installed(module)]
    names = " ".join(packages or [packages_of[missing]])
    return (
        f"featstore {command} needs packages that are not installed; run: pip install {names} "
        f"(or, in a checkout: pip install '.[{extra}]')"
    )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # None in sys.modules: its import is blocked
        return False
