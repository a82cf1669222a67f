"""How many tokens a model takes, and from which number its positions are counted."""

from typing import Any

from torch import nn

LIMITS = (
    "max_position_embeddings",
    "n_positions",
    "max_target_positions",
    "max_decoder_position_embeddings",
    "max_text_positions",
    "max_seq_len",
    "n_ctx",
    "context_length",
)
"""Names under which configs of transformers say how many positions there are, the usual one first."""


def context_of(config: Any, first: int) -> int | None:
    """Return how many tokens a prompt may have, or None where the config sets no bound.

    Args:
        config: a text model's config.
        first: position id of the first token; tables of positions hold those below it too.
    """
    limits = (getattr(config, name, None) for name in LIMITS)
    longest = next((n for n in limits if isinstance(n, int) and n > 0), None)
    return None if longest is None else longest - first


def first_position_id(model: nn.Module) -> int:
    """Return the position id of the first token, as a model's own embeddings count them."""
    # Embeddings with this method number tokens from the padding id on.
    own: Any = (m for m in model.modules() if hasattr(m, "create_position_ids_from_input_ids"))
    return next((m.padding_idx + 1 for m in own), 0)
