"""What replacing sets of parts over pairs takes, before anything is run."""

from collections.abc import Sequence

import torch

from patchclamp.ablate.edges import count_rows_together
from patchclamp.ablate.strata import AT_ONCE
from patchclamp.subjects.cases import ROWS, ReadTask
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.model import Model
from patchclamp.subjects.pass_memory import PYTHON, count_forward_bytes
from patchclamp.subjects.residual_edges import edge_map, row_bytes

EDGE_BYTES = 400
"""Bytes of the keys and names of an edge, while random sets are drawn."""


def count_unit_rows(n_pairs: int, n_sets: int) -> int:
    """Return the rows of forward passes of sets of units: both ends twice, the largest activations, and every set.

    Args:
        n_pairs: pairs.
        n_sets: sets besides that of the largest activations.

    Returns:
        int: rows, at most.

    Example:
        >>> count_unit_rows(2, 110)
        230
    """
    return n_pairs * (5 + n_sets)


def count_edge_rows(model: LanguageModel, cases: ReadTask, n_sets: int) -> int:
    """Return the rows that sets of edges take: both ends, then two for every set, whose pieces pass an MLP twice.

    Args:
        model: the subject.
        cases: pairs.
        n_sets: sets.

    Returns:
        int: rows, at most; what the baseline writes runs once for every pair among the rows that run together.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> count_edge_rows(cat, cat.read(task), 110)
        223
    """
    n, together = len(cases), count_rows_together(model, max(map(len, cases.clean)))
    return n * (2 + 2 * n_sets) + -(-n * n_sets // together) + n - 1


def count_unit_bytes(model: Model, cases: ReadTask, paths: Sequence[str]) -> int:
    """Return what sets of units hold: the counterparts and streams of a batch of pairs, and a pass of all its rows.

    Args:
        model: the subject.
        cases: pairs.
        paths: sites whose units are in the sets.

    Returns:
        int: bytes besides the model's.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> count_unit_bytes(cat, cat.read(task), ["blocks.0.mlp.act"]) > PYTHON
        True
    """
    n, size = min(len(cases), ROWS), torch.finfo(model.dtype).bits // 8
    sites = [model.site(path) for path in paths]
    places = max(max(map(len, cases.clean)), *(site.n_places or 0 for site in sites))
    values = size * places * sum(site.width for site in sites)
    streams = size * places * model.n_layers * (model.site("blocks.0.resid_in").width if model.n_layers else 0)
    passing = max(ROWS // n, 1) * n * count_forward_bytes(model, places, {site.kind for site in sites})
    moves = min(n, AT_ONCE) * (2 * values + 3 * 8 * places * max(site.width for site in sites))
    return PYTHON + max(n * (values + streams) + passing, moves)


def count_edge_bytes(model: LanguageModel, cases: ReadTask, n_sets: int) -> int:
    """Return what sets of edges hold: what writers write in the rows that run together, and the streams that are read.

    Args:
        model: the subject.
        cases: pairs.
        n_sets: sets.

    Returns:
        int: bytes besides the model's.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> count_edge_bytes(cat, cat.read(task), 110) > PYTHON
        True
    """
    longest, graph = max(map(len, cases.clean)), edge_map(model)
    together = min(count_rows_together(model, longest), len(cases) * n_sets)
    width = model.site("blocks.0.resid_in").width
    streams = (2 * graph.n_layers + 1) * longest * width * 4
    masks = len(graph) + len(graph.readers) * len(graph.writers)
    # What the heads of one block write is made, then taken off what it was.
    heads = 3 * 4 * longest * width * max(model.site("blocks.0.attn.z").n_heads, 1)
    rows = row_bytes(model, longest, each=1) + heads + streams + masks + count_forward_bytes(model, longest)
    return PYTHON + together * rows + EDGE_BYTES * len(graph)
