"""GPT-NeoX with a sequential residual, as RedPajama and StableLM's first models: the MLP reads what attention added."""

from dataclasses import replace
from typing import Any

from patchclamp.subjects.engine import Place
from patchclamp.subjects.families import gpt_neox


def tiny() -> Any:
    """Make a 3-layer random GPT-NeoX of width 32 whose residual is sequential."""
    return gpt_neox.tiny(parallel=False)


FAMILY = replace(
    gpt_neox.FAMILY,
    name="gpt_neox_sequential",
    block={**gpt_neox.FAMILY.block, "resid_mid": Place("post_attention_layernorm", "in", shared=True)},
    parallel=False,
    misfit=lambda config: "its attention and MLP read the same residual" if config.use_parallel_residual else "",
    tiny=tiny,
)
