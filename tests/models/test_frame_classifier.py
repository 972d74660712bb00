import pytest
import torch

from models.backbones import build_backbone
from models.catalogue import BACKBONES
from models.frame_classifier import FrameClassifier, blocks_of

IMAGE = [name for name, spec in BACKBONES.items() if spec.kind == "image"]
TIMM = ["timm:tf_efficientnet_lite0", "timm:vit_tiny_patch16_224", "timm:resnet10t"]


@pytest.mark.parametrize("name", [*IMAGE, *TIMM])
def test_every_parameter_is_in_one_block(name: str) -> None:
    network = build_backbone(name).network
    blocks = blocks_of(network)
    names = [name for name, _ in network.named_parameters()]
    assert sorted(name for block in blocks for name in block) == sorted(names)
    sizes = dict(network.named_parameters())
    largest = max(sum(sizes[name].numel() for name in block) for block in blocks)
    assert len(blocks) > 4
    assert largest < 0.75 * sum(own.numel() for own in sizes.values())


# As their papers count: a stem and what is repeated, with what stands behind it.
@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18", 9), ("resnet50", 17), ("mobilenet_v2", 19), ("squeezenet1_1", 9)],
)
def test_blocks_are_what_a_network_repeats(name: str, count: int) -> None:
    assert len(blocks_of(build_backbone(name).network)) == count


def test_norms_tokens_and_positions_go_with_blocks() -> None:
    blocks = blocks_of(build_backbone("vit_b_16").network)
    assert len(blocks) == 13
    assert {"class_token", "conv_proj.weight"} <= {*blocks[0]}
    assert "encoder.pos_embedding" in blocks[1]
    assert "encoder.ln.weight" in blocks[-1]
    assert all(name.startswith("encoder.layers.encoder_layer_11.") for name in blocks[-1][:-2])


def test_the_last_blocks_and_the_classifier_are_trained_and_nothing_else() -> None:
    backbone = build_backbone("resnet18")
    model = FrameClassifier(backbone, 512, 5, blocks=1)
    trained = {name for name, own in model.named_parameters() if own.requires_grad}
    assert all(name.startswith(("classifier.", "backbone.network.layer4.1.")) for name in trained)
    classifier, block = model.layers()
    assert [own.shape for own in classifier] == [(5, 512), (5,)]
    assert len(block) + 2 == len(trained)


def test_batch_norm_keeps_its_statistics() -> None:
    model = FrameClassifier(build_backbone("resnet18"), 512, 5, blocks=2).train()
    before = {name: own.clone() for name, own in model.named_buffers()}
    assert model.classifier.training
    model(torch.randn(4, 3, 64, 64)).sum().backward()
    assert all(torch.equal(own, before[name]) for name, own in model.named_buffers())


def test_more_blocks_than_there_are() -> None:
    with pytest.raises(ValueError, match="it has 9 blocks"):
        FrameClassifier(build_backbone("resnet18"), 512, 5, blocks=10)
