"""OPT: pre-norm, learned positions, biases, ReLU; its MLP has the tokens of all rows on one axis."""

from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families.spec import Family, attention_sites, enlarge


def tiny() -> Any:
    """Make a 2-layer random OPT of width 32."""
    from transformers import OPTConfig, OPTForCausalLM

    config = OPTConfig(
        num_hidden_layers=2,
        hidden_size=32,
        word_embed_proj_dim=32,
        num_attention_heads=4,
        ffn_dim=64,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(OPTForCausalLM(config), weight=0.3)


def misfit(config: Any) -> str:
    """Return how a config departs; OPT 350M alone has norms after its additions and a narrower embedding."""
    if not config.do_layer_norm_before:
        return "its norms follow the additions"
    if config.word_embed_proj_dim != config.hidden_size:
        return "its embedding is narrower than its residual stream"
    return "it has no final norm" if config._remove_final_layer_norm else ""


FAMILY = Family(
    name="opt",
    classes=("OPTForCausalLM",),
    blocks="model.decoder.layers",
    final="model.decoder.final_layer_norm",
    block={
        **attention_sites("self_attn", "out_proj"),
        "resid_mid": Place("final_layer_norm", "in", shared=True, flat=True),
        "mlp.pre": Place("fc1", "out", flat=True),
        "mlp.act": Place("fc2", "in", flat=True),
        "mlp.write": Place("fc2", "out", flat=True),
    },
    nonlinearity="activation_fn",
    entry_norms=("self_attn_layer_norm", "final_layer_norm"),
    # It counts them itself, from the attention mask.
    positions=False,
    # Queries are scaled before they meet the keys.
    scale=lambda module: 1.0,
    widths=dict.fromkeys(("mlp.pre", "mlp.act"), lambda config: config.ffn_dim),
    misfit=misfit,
    tiny=tiny,
)
