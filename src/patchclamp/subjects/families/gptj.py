"""GPT-J: parallel residual, rotary; before transformers 5.24 outside its attention interface (a method is wrapped)."""

from typing import Any

from patchclamp.subjects.families.spec import Family, attention_sites, enlarge, mlp_sites


def tiny() -> Any:
    """Make a 3-layer random GPT-J of width 32."""
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        n_layer=3,
        n_embd=32,
        n_head=4,
        rotary_dim=4,
        vocab_size=61,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=60,
    )
    return enlarge(GPTJForCausalLM(config), weight=0.3)


FAMILY = Family(
    name="gptj",
    classes=("GPTJForCausalLM",),
    blocks="transformer.h",
    final="transformer.ln_f",
    block={
        **attention_sites("attn", "out_proj"),
        **mlp_sites("mlp", pre="fc_in", act="fc_out"),
    },
    nonlinearity="mlp.act",
    entry_norms=("ln_1",),
    parallel=True,
    scale=lambda module: module.scaling if hasattr(module, "scaling") else float(1 / module.scale_attn),
    attention_method="_attn",
    tiny=tiny,
)
