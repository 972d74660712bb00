"""What holds the packages together: one-way arrows, light imports, an installable wheel."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

from tests.folders import ROOT

PACKAGES = ("featstore", "models", "pipeline")


def imports(path: Path) -> set[str]:
    """Top-level names of every import of a module, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.fixture(scope="module")
def rooms() -> ModuleType:
    """The script that knows the folders and draws them."""
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "docs/draw_rooms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_imports_between_folders_go_one_way(rooms: ModuleType) -> None:
    for module, imported in rooms.imports().items():
        room = module if module in rooms.FACES else rooms.room_of(module)
        if room in rooms.FACES:
            continue
        allowed = {room, *rooms.ARROWS[room].split()}
        wrong = {name for name in imported if rooms.room_of(name) not in allowed}
        assert not wrong, f"{module} imports {wrong}"


def test_arrows_point_at_folders_that_stand_before(rooms: ModuleType) -> None:
    before: set[str] = set()
    for room, targets in rooms.ARROWS.items():
        assert set(targets.split()) <= before, room
        before.add(room)


def test_no_circle_of_imports(rooms: ModuleType) -> None:
    TopologicalSorter(rooms.imports()).prepare()  # raises CycleError, which names the circle


def test_stage_two_opens_no_video(rooms: ModuleType) -> None:
    imports, todo = rooms.imports(), {"pipeline.train.train", "pipeline.train.evaluate"}
    seen: set[str] = set()
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= imports[module] - seen
    stage_one = ("pipeline.build", "pipeline.video", "pipeline.sources")
    assert not [module for module in seen if module.startswith(stage_one)]


def test_the_picture_of_the_folders_is_what_the_imports_say(rooms: ModuleType) -> None:
    assert (ROOT / "docs/rooms.svg").read_text("utf-8") == rooms.draw(), (
        "run `python docs/draw_rooms.py`"
    )


def test_store_imports_torch_in_one_module() -> None:
    for module in (ROOT / "featstore").rglob("*.py"):
        allowed = {"torch"} if module.name == "torch_dataset.py" else set()
        assert not imports(module) & {"torch", "torchvision", "av", "click", "pydantic"} - allowed


def run(code: str, *hidden: str) -> list[str]:
    """Run code in a new process in which some modules cannot be imported."""
    hide = f"import sys; sys.modules |= dict.fromkeys({hidden!r})\n"
    command = [sys.executable, "-c", hide + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_store_works_without_torch(tmp_path, suffix: str) -> None:
    from tests.stores import write_store

    path = write_store(tmp_path / f"s{suffix}")
    code = f"""
import featstore
store = featstore.open({str(path)!r})
print(store.batch(store.split("train")).features.shape)
print(sum(len(batch.clips) for batch in store.stream(2, 0)))
print([name for name in ("pipeline", "models") if name in sys.modules])
"""
    assert run(code, "torch", "torchvision") == ["(2,", "6,", "4)", "5", "[]"]


HEAVY = ("torch", "torchvision", "zarr", "dask", "av", "pydantic", "matplotlib", "h5py")


@pytest.mark.parametrize("arguments", [["--help"], ["build", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
from pipeline.cli import main
main({arguments!r}, standalone_mode=False)
print("HEAVY", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    printed = run(code)
    assert "Usage:" in printed
    assert printed[printed.index("HEAVY") + 1 :] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A virtual environment with the project's wheel, and this one's packages behind it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, for setuptools builds inside of it
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignore)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    subprocess.run(build, check=True, capture_output=True)
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin/python"
    install = ["-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    site = next((environment / "lib").glob("python*/site-packages"))
    # A path in a .pth file adds packages, but not that folder's own .pth files: this checkout's
    # editable installation stays out.
    (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_wheel_holds_the_three_packages_and_no_tests(installed: Path) -> None:
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    names = {path.name for path in site.iterdir()}
    assert {"featstore", "models", "pipeline"} <= names
    assert not names & {"tests", "benchmarks", "docs"}
    for package in ("featstore", "models", "pipeline"):
        assert (site / package / "py.typed").is_file()
    shipped = {p.relative_to(site) for p in (site / "pipeline").rglob("*.*") if p.suffix != ".pyc"}
    source = {
        path.relative_to(ROOT)
        for path in (ROOT / "pipeline").rglob("*.*")
        if path.suffix != ".pyc" and path.is_file()
    }
    assert source <= shipped


def test_wheel_runs_in_a_folder_with_its_own_models_and_pipeline(installed, tmp_path) -> None:
    for package in ("models", "pipeline", "featstore"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('the wrong package')\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for line in (
        "demo-data data --clips 60",
        "build --data data --backbone squeezenet1_1 --weights random --size 32 --fps 2",
        "train --recipe baseline --set train.epochs=1 --out runs/one",
    ):
        done = subprocess.run(
            [installed / "featstore", *line.split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/one/report.md").is_file()
