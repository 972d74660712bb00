from types import SimpleNamespace

import pytest
import torch

from featstore.errors import InputError
from pipeline.system.device import allow_tf32, choose_device
from pipeline.system.precision import Precision


@pytest.mark.parametrize("name", ["mps", "mps:0", "xpu"])
def test_devices_that_are_not_supported(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*not supported.*cuda:N"):
        choose_device(name)


def test_cpu() -> None:
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_only_tf32_rounds_products_to_tf32(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimpleNamespace(device=torch.device("cuda", 0), cpu=lambda: None)
    monkeypatch.setattr(torch, "zeros", lambda *given, **more: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    allow_tf32(precision != "tf32")
    try:
        assert choose_device("cuda", precision) == gpu.device
        assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    finally:
        allow_tf32(False)
