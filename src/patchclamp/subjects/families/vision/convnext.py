"""ConvNeXt: stages of blocks, a depthwise convolution and an MLP at every place, scaled and added.

The addition is a ``+`` inside the block's forward: the block's input and the branch's output are hooked, nothing is
copied. Between stages a norm and a convolution halve the map: the next block's input is not the last one's output.
"""

from typing import Any

from torch import Tensor

from patchclamp.subjects.families.spec import enlarge
from patchclamp.subjects.vision_sites import FeatureMap, VisionFamily


def tiny() -> Any:
    """Make a random ConvNeXt of two stages for images of 3 x 16 x 16; its scales are far from 0."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    make: Any = ConvNextConfig  # every config takes num_labels; not every signature says so
    config = make(
        patch_size=2, num_stages=2, hidden_sizes=[8, 12], depths=[1, 2], num_labels=7, layer_scale_init_value=1.0
    )
    return enlarge(ConvNextForImageClassification(config), weight=0.3)


def finish(block: Any, act: Tensor, which: str) -> Tensor:
    """Return the down projection of a map's neurons, scaled.

    Returns:
        Tensor: of the map's shape, to be added to the stream.
    """
    written = block.pwconv2(act.permute(0, 2, 3, 1))
    scale = block.layer_scale_parameter
    return (written if scale is None else scale * written).permute(0, 3, 1, 2)


FAMILY = VisionFamily(
    name="convnext",
    classes=("ConvNextForImageClassification",),
    blocks="convnext.encoder.stages.*.layers.*",
    final="convnext.layernorm",
    stem=FeatureMap("convnext.embeddings", "out"),
    last=FeatureMap("convnext.layernorm", "out"),
    answer=lambda model, final: model.classifier(final[:, 0]),
    block={
        "conv.out": FeatureMap("dwconv", "out"),
        "mlp.pre": FeatureMap("pwconv1", "out", last=True),
        "mlp.act": FeatureMap("pwconv2", "in", last=True),
        "mlp.write": FeatureMap("drop_path", "out"),
    },
    nonlinearity="act",
    entry_norms=(),
    summed=("mlp.write",),
    finish=finish,
    tiny_shape=(3, 16, 16),
    excluded={
        4: "it has no attention, so no pattern",
        9: "it has no attention, so neither queries nor keys",
    },
    tiny=tiny,
)
