"""ResNet: stages of blocks, two or three convolutions beside a shortcut; a ReLU after every sum.

The addition is a ``+=`` inside the block's forward: the block's input and the branch's output are hooked, nothing is
copied.
"""

from typing import Any

import torch
from torch import Tensor

from patchclamp.subjects.families.spec import enlarge
from patchclamp.subjects.vision_sites import FeatureMap, VisionFamily


def tiny() -> Any:
    """Make a random ResNet of two stages for images of 3 x 16 x 16, its running statistics drawn too."""
    from transformers import ResNetConfig, ResNetForImageClassification

    make: Any = ResNetConfig  # every config takes num_labels; not every signature says so
    config = make(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 2], layer_type="basic", num_labels=7)
    model = enlarge(ResNetForImageClassification(config), weight=0.3)
    generator = torch.Generator().manual_seed(1)
    for name, statistic in model.named_buffers():
        if name.endswith("running_mean"):
            statistic.copy_(0.5 * torch.randn(statistic.shape, generator=generator))
        elif name.endswith("running_var"):
            statistic.copy_(0.5 + torch.rand(statistic.shape, generator=generator))
    return model


def finish(block: Any, act: Tensor, which: str) -> Tensor:
    """Return what the convolutions after the named one make of its output.

    Returns:
        Tensor: of the map's shape, before the shortcut is added.
    """
    for layer in block.layer[int(which.removeprefix("conv")) :]:
        act = layer(act)
    return act


FAMILY = VisionFamily(
    name="resnet",
    classes=("ResNetForImageClassification",),
    blocks="resnet.encoder.stages.*.layers.*",
    final="resnet.pooler",
    stem=FeatureMap("resnet.embedder", "out"),
    last=FeatureMap("resnet.pooler", "out"),
    answer=lambda model, final: model.classifier(final[:, 0]),
    block={
        "shortcut": FeatureMap("shortcut", "out"),
        "conv1.pre": FeatureMap("layer.0.normalization", "out"),
        "conv1.act": FeatureMap("layer.0.activation", "out"),
        # A bottleneck's second convolution; the last one of a branch has no nonlinearity of its own.
        "conv2.pre": FeatureMap("layer.1.normalization", "out"),
        "conv2.act": FeatureMap("layer.1.activation", "out"),
        "conv.write": FeatureMap("layer", "out"),
    },
    nonlinearity="layer.0.activation",
    entry_norms=(),
    summed=("conv.write",),
    finish=finish,
    tiny_shape=(3, 16, 16),
    shortcut="shortcut",
    after="activation",
    excluded={
        4: "it has no attention, so no pattern",
        9: "it has no attention, so neither queries nor keys",
    },
    tiny=tiny,
)
