"""Llama 4, text: attention in chunks or without rotary positions; experts with scaled inputs, and one shared."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import llama
from patchclamp.subjects.families.spec import EXPERT_WIDTHS, UNDERIVED_EXPERTS, enlarge, mlp_sites, shared_sites


def tiny() -> Any:
    """Make a 2-layer random Llama 4 of width 32: a chunked block with a dense MLP, then one without, with 4 experts."""
    from transformers import Llama4ForCausalLM, Llama4TextConfig

    config = Llama4TextConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=24,
        intermediate_size_mlp=48,
        num_local_experts=4,
        num_experts_per_tok=2,
        moe_layers=[1],
        no_rope_layers=[1, 0],
        attention_chunk_size=4,
        vocab_size=61,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=60,
        pad_token_id=59,
    )
    return enlarge(Llama4ForCausalLM(config), weight=0.3)


def chunk(module: Any) -> int | None:
    """Return the length of the chunks within which a block attends."""
    chunked = module.config.layer_types[module.layer_idx] == "chunked_attention"
    return module.config.attention_chunk_size if chunked else None


SHARED = shared_sites("feed_forward.shared_expert", flat=True)
# Unlike in other mixtures, shares (sigmoids, 0 for experts that were not chosen), and experts read them.
ROUTER = {"mlp.router": Place("feed_forward.router", "out", flat=True)}
DENSE = mlp_sites("feed_forward", pre="gate_proj", up="up_proj", act="down_proj")

FAMILY = replace(
    llama.FAMILY,
    name="llama4",
    classes=("Llama4ForCausalLM",),
    block={
        **{kind: place for kind, place in llama.FAMILY.block.items() if not kind.startswith("mlp.")},
        **{kind: place for kind, place in DENSE.items() if kind != "mlp.write"},
        **ROUTER,
        **SHARED,
        "mlp.write": Place("feed_forward", "out", flat=True),
    },
    nonlinearity="feed_forward.activation_fn",
    varying=frozenset({"mlp.pre", "mlp.up", "mlp.act", *ROUTER, *SHARED}),
    widths={
        **EXPERT_WIDTHS,
        **dict.fromkeys(("mlp.pre", "mlp.up", "mlp.act"), lambda config: config.intermediate_size_mlp),
        **dict.fromkeys(SHARED, lambda config: config.intermediate_size),
    },
    chunk=chunk,
    underived=UNDERIVED_EXPERTS,
    unseen={"neurons of single experts": "one product makes those of all experts, and no module shows them"},
    tiny=tiny,
)
