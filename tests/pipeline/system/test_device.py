import pytest

from featstore.errors import InputError
from pipeline.system.device import choose_device


@pytest.mark.parametrize("name", ["mps", "mps:0", "xpu"])
def test_devices_that_are_not_supported(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}.*not supported.*cuda:N"):
        choose_device(name)


def test_cpu() -> None:
    assert choose_device("cpu").type == "cpu"
