"""ViT: pre-norm, sequential, a class token before the patches, which the classifier reads."""

from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import attention_sites, enlarge, mlp_sites
from patchclamp.subjects.vision_sites import FeatureMap, VisionFamily


def tiny() -> Any:
    """Make a 3-layer random ViT of width 32 for images of 3 x 12 x 12, in nine patches."""
    from transformers import ViTConfig, ViTForImageClassification

    make: Any = ViTConfig  # every config takes num_labels; not every signature says so
    config = make(
        image_size=12,
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        num_labels=7,
    )
    return enlarge(ViTForImageClassification(config), weight=0.3)


FAMILY = VisionFamily(
    name="vit",
    classes=("ViTForImageClassification",),
    blocks="vit.layers",
    final="vit.layernorm",
    stem=FeatureMap("vit.embeddings", "out"),
    last=FeatureMap("vit.layernorm", "out"),
    block={
        **attention_sites("attention", "o_proj"),
        "resid_mid": Place("layernorm_after", "in", shared=True),
        **mlp_sites("mlp", pre="fc1", act="fc2"),
    },
    nonlinearity="mlp.activation_fn",
    entry_norms=("layernorm_before", "layernorm_after"),
    tokens=1,
    tiny=tiny,
)
