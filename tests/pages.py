"""The commands on the pages of the documentation, and how tests run them."""

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from unittest.mock import patch

from click.testing import CliRunner

from pipeline.cli import main
from tests.folders import DOCS, ROOT

PAGES = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")
PAGES = (*PAGES, *sorted(p.relative_to(ROOT).as_posix() for p in DOCS.glob("**/*.md")))
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)

# What makes the commands of the pages quick; the flags on the pages come first.
QUICK = {
    "FEATSTORE_BUILD_DEVICE": "cpu",
    "FEATSTORE_BUILD_WORKERS": "1",
    "FEATSTORE_TRAIN_DEVICE": "cpu",
    "FEATSTORE_TRAIN_SET": "train.epochs=1",
    "FEATSTORE_DEMO_DATA_WORKERS": "1",
}
# In place of the weights that are downloaded by default.
TINY = {
    "FEATSTORE_BUILD_BACKBONE": "squeezenet1_1",
    "FEATSTORE_BUILD_WEIGHTS": "random",
    "FEATSTORE_BUILD_SIZE": "32",
    "FEATSTORE_BUILD_NORMALISE": "0.5,0.25",
}

INSTALLS = "installs packages"
PROCESSES = "starts processes that import torch"
CAMERA = "needs a camera"
CHECKSUMS = "is of other programs"
VIEWS = "would replace the store of the next commands; tests of --views build small ones"
SERVES = "runs until it is interrupted"
# Commands that no test of the pages runs, and why.
NOT_RUN = {
    "README.md": {
        "make demo": INSTALLS,
        "make test": "runs every test",
        "featstore browse": SERVES,
    },
    "docs/browse.md": {
        "pip install flask scikit-learn av": INSTALLS,
        "featstore browse": SERVES,
    },
    "docs/decoding.md": {"pip install torchcodec": INSTALLS},
    "docs/driveact.md": {
        "featstore demo-data demo/data --clips 60": "is in the tutorial",
        "featstore demo-data data/drawn --annotations "
        "data/driveact/activities_3s/a_column_co_driver": "draws videos of full length",
        "featstore build --data data/drawn --backbone timm:tf_efficientnet_lite0 "
        "--weights data/drawn/weights/tf_efficientnet_lite0.safetensors": "reads those videos",
        "cd data/driveact": CHECKSUMS,
        "find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum "
        "> SHA256SUMS": CHECKSUMS,
        "sha256sum --check --quiet SHA256SUMS": CHECKSUMS,
    },
    "docs/predict.md": {
        "featstore predict runs/tcn recordings/ --dask local:4": PROCESSES,
        "featstore predict runs/tcn /dev/video0 --frames 640x480@30 --window 3 --hop 0.5": CAMERA,
        "ffmpeg -i rtsp://CAMERA -f rawvideo -pix_fmt gray - | "
        "featstore predict runs/tcn - --frames 640x480@30:grey8": CAMERA,
        "pip install -c constraints.txt '.[export]'": INSTALLS,
    },
    "docs/sweep.md": {"pip install optuna": INSTALLS},
    "docs/training.md": {
        "pip install tensorboard": INSTALLS,
        "tensorboard --logdir runs": SERVES,
        "featstore build --views 4": VIEWS,
        "featstore train --views 4 --recipe bilstm": VIEWS,
        "pip install mlflow-skinny": INSTALLS,
        "MLFLOW_TRACKING_URI=http://127.0.0.1:5000 featstore train --log mlflow": "needs a server",
        "torchrun --standalone --nproc-per-node 2 --no-python featstore train "
        "--recipe bilstm": PROCESSES,
    },
}
# Pages without a command that a test of the pages runs.
NOT_RUN_PAGES = {
    "CONTRIBUTING.md": "runs the tests",
    "benchmarks/README.md": "takes hours, and other libraries",
    "docs/install.md": INSTALLS,
    "docs/reliability.md": "takes hours; tests/faults runs a short part",
    "docs/results.md": "needs recordings that may not be copied",
    "docs/scaling.md": "needs a cluster; tests/pipeline/build/test_dask.py has a small one",
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def fences(page: str) -> list[tuple[str, str]]:
    """Language and content of each block of a page."""
    return [(language, code) for _, language, code in FENCE.findall(text_of(page))]


def blocks(page: str, language: str) -> list[str]:
    return [code for each, code in fences(page) if each == language]


def inline(page: str) -> list[str]:
    """What is between backticks in the sentences and tables of a page."""
    prose = FENCE.sub("", text_of(page))
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def lines(code: str) -> Iterator[str]:
    """The commands of a block, one per line, without comments."""
    for line in code.replace("\\\n", " ").splitlines():
        if line := re.sub(r"(^|\s)#.*", "", line).strip():
            yield " ".join(line.split())


def shell(page: str) -> list[str]:
    """The commands of a page, in order."""
    return [line for code in blocks(page, "sh") for line in lines(code)]


def runnable(page: str) -> list[str]:
    """The commands of a page that tests run."""
    if page in NOT_RUN_PAGES:
        return []
    return [line for line in shell(page) if line not in NOT_RUN.get(page, {})]


def words_after_featstore(line: str) -> list[str] | None:
    """The arguments in a line that calls featstore, up to the end of that command."""
    words = shlex.split(line)
    if "featstore" not in words:
        return None
    rest = words[words.index("featstore") + 1 :]
    ends = [at for at, word in enumerate(rest) if word in ("|", ">", "&", ";")]
    return rest[: min(ends, default=len(rest))]


def run(commands: list[str], **environment: str) -> dict[str, str]:
    """Run commands of featstore and scripts of Python; return what each command printed."""
    printed = {}
    runner = CliRunner(env=QUICK | environment)
    for command in commands:
        begin = process_time()
        name, *words = shlex.split(command)
        words = [path for word in words for path in expanded(word)]
        if name == "python":
            with patch("sys.argv", words):
                runpy.run_path(str(ROOT / words[0]))
        else:
            assert name == "featstore", command
            result = runner.invoke(main, words)
            assert result.exit_code == 0, f"{command}\n{result.output}"
            printed[command] = result.output
        print(f"{process_time() - begin:6.2f} s  {command}")
    return printed


def expanded(word: str) -> list[str]:
    """The paths that a word with an asterisk stands for, as a shell has them."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]
