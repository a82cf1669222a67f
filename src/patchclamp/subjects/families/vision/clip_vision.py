"""CLIP's image half with a classifier: a norm before the blocks, none after them; the patches' mean answers.

The norm that follows the class token leads to no logit here.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import attention_sites, enlarge, mlp_sites
from patchclamp.subjects.families.vision.vit import FAMILY as VIT
from patchclamp.subjects.vision_sites import FeatureMap


def tiny() -> Any:
    """Make a 3-layer random CLIP image classifier of width 32 for images of 3 x 12 x 12."""
    from transformers import CLIPConfig, CLIPForImageClassification

    make: Any = CLIPConfig  # every config takes num_labels; not every signature says so
    config = make(
        vision_config={
            "image_size": 12,
            "patch_size": 4,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 48,
        },
        num_labels=7,
    )
    return enlarge(CLIPForImageClassification(config), weight=0.3)


def answer(model: Any, final: Tensor) -> Tensor:
    """Return the logits of the mean of the patches."""
    return model.classifier(final[:, 1:].mean(1))


FAMILY = replace(
    VIT,
    name="clip_vision",
    classes=("CLIPForImageClassification",),
    blocks="vision_model.encoder.layers",
    final="vision_model.post_layernorm",
    stem=FeatureMap("vision_model.pre_layrnorm", "out"),
    last=FeatureMap("", "out"),
    normed=False,
    scale=lambda module: module.scale,
    answer=answer,
    block={
        **attention_sites("self_attn", "out_proj"),
        "resid_mid": Place("layer_norm2", "in", shared=True),
        **mlp_sites("mlp", pre="fc1", act="fc2"),
    },
    nonlinearity="mlp.activation_fn",
    entry_norms=("layer_norm1", "layer_norm2"),
    tiny=tiny,
)
