"""Smaller networks of the same layers."""

from typing import Any

# What `pytest.MonkeyPatch.setattr` takes.
Patch = tuple[Any, str, Any]


def with_options(module: Any, name: str, **fixed: Any) -> Patch:
    """Replace options that a builder is called with."""
    whole = getattr(module, name)
    return module, name, lambda **options: whole(**options | fixed)


def shallow_vit(**fixed: Any) -> Patch:
    """Give vit_b_16 two layers, a sixth of the work."""
    from torchvision.models import vision_transformer

    return with_options(vision_transformer, "_vision_transformer", num_layers=2, **fixed)
