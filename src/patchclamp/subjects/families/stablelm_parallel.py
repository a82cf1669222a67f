"""StableLM with a parallel residual (StableLM 2 12B): attention and MLP behind one norm."""

from dataclasses import replace
from functools import partial

from patchclamp.subjects.families import stablelm

FAMILY = replace(
    stablelm.FAMILY,
    name="stablelm_parallel",
    block={name: place for name, place in stablelm.FAMILY.block.items() if name != "resid_mid"},
    entry_norms=("input_layernorm",),
    parallel=True,
    misfit=lambda config: "" if config.use_parallel_residual else "its MLP reads what its attention added",
    tiny=partial(stablelm.tiny, parallel=True),
)
