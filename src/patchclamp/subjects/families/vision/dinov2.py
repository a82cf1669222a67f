"""DINOv2: a ViT whose branches are scaled unit by unit before they are added; class token and patches' mean answer."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import attention_sites, enlarge, mlp_sites
from patchclamp.subjects.families.vision.vit import FAMILY as VIT
from patchclamp.subjects.vision_sites import FeatureMap


def tiny() -> Any:
    """Make a 3-layer random DINOv2 of width 32 for images of 3 x 12 x 12; its scales are far from 1."""
    from transformers import Dinov2Config, Dinov2ForImageClassification

    make: Any = Dinov2Config  # every config takes num_labels; not every signature says so
    config = make(
        image_size=12,
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        mlp_ratio=2,
        num_labels=7,
    )
    return enlarge(Dinov2ForImageClassification(config), weight=0.3)


def answer(model: Any, final: Tensor) -> Tensor:
    """Return the logits of the class token beside the mean of the patches."""
    return model.classifier(torch.cat([final[:, 0], final[:, 1:].mean(1)], 1))


FAMILY = replace(
    VIT,
    name="dinov2",
    classes=("Dinov2ForImageClassification",),
    blocks="dinov2.encoder.layer",
    final="dinov2.layernorm",
    stem=FeatureMap("dinov2.embeddings", "out"),
    last=FeatureMap("dinov2.layernorm", "out"),
    answer=answer,
    finish=lambda block, act, which: block.layer_scale2(block.mlp.fc2(act)),
    block={
        **attention_sites("attention", "o_proj"),
        "attn.write": Place("layer_scale1", "out"),
        "resid_mid": Place("norm2", "in", shared=True),
        **mlp_sites("mlp", pre="fc1", act="fc2"),
        "mlp.write": Place("layer_scale2", "out"),
    },
    nonlinearity="mlp.activation_fn",
    entry_norms=("norm1", "norm2"),
    misfit=lambda config: "its MLP is gated (SwiGLU)" if config.use_swiglu_ffn else "",
    tiny=tiny,
)
