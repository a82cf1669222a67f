"""Which families a test runs over: those that differ in kind, or all of them in `make families`."""

import os

import pytest

from patchclamp.subjects.families.spec import family_names

WHOLE = os.environ.get("PATCHCLAMP_FAMILIES") == "1"
"""Set by `make families`: every test of families runs over every family."""
KINDS = (
    "bert", "gemma2", "gemma3", "gpt2", "gpt_neox", "gpt_neox_sequential", "gptj", "jamba", "llama", "mistral", "olmo2",
    "opt", "phi3", "qwen2", "qwen3", "qwen3_moe", "roberta",
)  # fmt: skip
"""What `make test` shows to the longer tests; of other families it checks the contract alone."""
CHOSEN = family_names() if WHOLE else KINDS
EVERY = pytest.mark.parametrize("name", CHOSEN)
FEW = family_names() if WHOLE else ("deepseek_v3",)
"""What `make test` shows to tests that other folders make of those kinds in more detail."""
