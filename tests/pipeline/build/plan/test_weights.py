import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from featstore.errors import InputError
from models.backbones import build_backbone
from models.operators import declare_missing_operators
from pipeline.build.extract.backbone import load_backbone, read_tensors
from pipeline.build.plan.weights import Weights, find_weights
from pipeline.video.cache import Cache
from tests.builds import silent

declare_missing_operators()
import torchvision  # noqa: E402

NAME = "squeezenet1_1"


@pytest.fixture
def cache(tmp_path: Path):
    cache = Cache(tmp_path / "cache.sqlite")
    yield cache
    cache.close()


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(11)
    return dict(torchvision.models.get_model(NAME, weights=None).state_dict())


def saved(path: Path, content: object) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_a_file_is_named_by_its_content_and_loaded(tmp_path, cache, tensors, suffix) -> None:
    path = saved(tmp_path / f"w{suffix}", tensors)
    weights = find_weights(str(path), NAME, cache, silent)
    assert weights.identity == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert (weights.untrained, str(weights)) == (False, path.name)
    loaded = load_backbone(NAME, weights).network.state_dict()
    assert all(torch.equal(value, tensors[name]) for name, value in loaded.items())

    copy = tmp_path / f"copy{suffix}"
    copy.write_bytes(path.read_bytes())
    assert find_weights(str(copy), NAME, cache, silent).identity == weights.identity
    saved(path, {name: value + 1 for name, value in tensors.items()})
    assert find_weights(str(path), NAME, cache, silent).identity != weights.identity


def test_a_checkpoint_may_hold_the_tensors_under_state_dict(tmp_path, cache, tensors) -> None:
    path = saved(tmp_path / "w.pth", {"state_dict": tensors, "epoch": 3})
    load_backbone(NAME, find_weights(str(path), NAME, cache, silent))


@pytest.mark.parametrize(
    ("text", "identity"),
    [("random", "random:0"), ("random:0", "random:0"), ("random:007", "random:7")],
)
def test_random_says_so(cache, text: str, identity: str) -> None:
    weights = find_weights(text, NAME, cache, silent)
    assert (weights.identity, weights.untrained) == (identity, True)
    assert "UNTRAINED" in str(weights)


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", "²", "1" * 30])
def test_bad_seeds(cache, seed: str) -> None:
    with pytest.raises(InputError, match="a seed is a whole number"):
        find_weights(f"random:{seed}", NAME, cache, silent)


@pytest.mark.parametrize(
    ("text", "backbone", "words"),
    [
        ("no/such.pth", NAME, ["no such file", "IMAGENET1K_V1 or default", "random"]),
        ("IMAGENET1K_V3", "resnet50", ["did you mean 'IMAGENET1K_V"]),
        ("default", "timm:test_resnet", ["a FILE", "or random"]),
        ("weights.bin", NAME, ["ends in .safetensors, .pth, .pt"]),
    ],
)
def test_names_that_are_not_there(tmp_path, cache, monkeypatch, text, backbone, words) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").touch()
    with pytest.raises(InputError) as caught:
        find_weights(text, backbone, cache, silent)
    assert all(word in str(caught.value) for word in words)


def test_torchvision_weights_are_found_where_torch_keeps_them(
    tmp_path, cache, tensors, monkeypatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    assert str(folder) == str(Path(torch.hub.get_dir()) / "checkpoints")
    folder.mkdir(parents=True)
    path = saved(folder / "squeezenet1_1-b8a52dc0.pth", tensors)
    assert find_weights("default", NAME, cache, silent).path == path


def test_no_network(tmp_path, cache, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(InputError, match=r"downloaded .no route.*host.*--weights FILE"):
        find_weights("default", NAME, cache, silent)


def test_other_architecture_lists_tensors(tmp_path, cache, tensors) -> None:
    path = saved(tmp_path / "w.safetensors", tensors)
    weights = find_weights(str(path), NAME, cache, silent)
    with pytest.raises(InputError, match=r"does not fit resnet18: 100 missing: .*; \d+ unknown: "):
        load_backbone("resnet18", weights)


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("it-ran"),))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, monkeypatch, legacy) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"features.0.weight": Malicious()}
    if legacy:
        Path("w.pth").write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, "w.pth")
    with pytest.raises(InputError, match="could run code"):
        read_tensors(Path("w.pth"))
    assert not Path("it-ran").exists()
    if legacy:
        pickle.loads(Path("w.pth").read_bytes())  # noqa: S301
    else:
        torch.load("w.pth", weights_only=False)
    assert Path("it-ran").exists()  # otherwise


def truncated(path: Path) -> None:
    whole = saved(path, {"a": torch.zeros(1000)}).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(7, 250)) * 9)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", [Path.touch, truncated, noise])
def test_damaged_files(tmp_path: Path, suffix: str, damage) -> None:
    path = tmp_path / f"w{suffix}"
    damage(path)
    with pytest.raises(InputError) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], {"a": "text"}, torch.zeros(3), {1: torch.zeros(3)}, {"state_dict": [1]}],
)
def test_what_is_not_a_mapping_of_names_to_tensors(tmp_path: Path, content) -> None:
    path = saved(tmp_path / "w.pth", content)
    with pytest.raises(InputError, match="not a mapping of names to tensors"):
        read_tensors(path)


def test_random_weights_follow_the_seed() -> None:
    found = load_backbone(NAME, Weights("random:5", seed=5)).network.state_dict()
    expected = build_backbone(NAME, 5).network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite_are_refused_by_name(tmp_path, cache, tensors, value) -> None:
    name = "features.3.squeeze.weight"
    spoilt = {**tensors, name: tensors[name].clone()}
    spoilt[name].view(-1)[5] = value
    path = saved(tmp_path / "w.safetensors", spoilt)
    weights = find_weights(str(path), NAME, cache, silent)
    with pytest.raises(InputError) as refused:
        load_backbone(NAME, weights)
    assert str(path) in str(refused.value)
    assert name in str(refused.value)


def test_a_pickle_is_refused_as_one_and_not_as_of_another_backbone(tmp_path, cache) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": Path("x")}, path)
    with pytest.raises(InputError, match="holds more than tensors") as refused:
        load_backbone(NAME, find_weights(str(path), NAME, cache, silent))
    assert NAME not in str(refused.value)
