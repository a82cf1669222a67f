"""Edge sets hold the writes of a few rows, however many pairs and subsets are measured."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import GPT2Config, GPT2LMHeadModel

from patchclamp.ablate import edges as ablated
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.subjects import residual_edges
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.residual_edges import edge_map, row_bytes
from replacing import with_edges_kept

POSITIONS = 12


class Held(TorchDispatchMode):
    """Count the bytes of tensors made inside: those held now, and the most held at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and (storage := x.untyped_storage()).data_ptr() not in given:
                place = storage.data_ptr()
                if place and place not in self.sizes:
                    self.sizes[place] = storage.nbytes()
                    weakref.finalize(storage, self.sizes.pop, place, None)
        self.most = max(self.most, sum(self.sizes.values()))
        return out


def most_held(work: Callable[[], object]) -> int:
    with Held() as held:
        work()
    return held.most


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=3, n_embd=32, n_head=16, n_positions=16, vocab_size=50, bos_token_id=0, eos_token_id=0
    )  # fmt: skip
    return LanguageModel(GPT2LMHeadModel(config).eval())


def asked(n: int) -> ReadTask:
    ids = np.random.default_rng(0).integers(0, 50, (2, n, POSITIONS))
    clean, corrupted = (tuple(Stimulus.of(row) for row in rows) for rows in ids)
    pairs = tuple(Case(f"clean {i}", f"corrupted {i}", (" a",), (" b",)) for i in range(n))
    metrics = (Metric("logit_difference", (1,), (2,)),) * n
    return ReadTask(Task(pairs), tuple(map(ReadCase, clean, corrupted, metrics)), np.zeros(n), np.ones(n))


def test_bytes_held_are_counted_and_given_up():
    with Held() as held:
        x = torch.zeros(1000)
        y = x[:500].reshape(5, 100) + 1
        assert (sum(held.sizes.values()), held.most) == (6000, 6000)
        del x
        assert sum(held.sizes.values()) == y.numel() * 4


def test_memory_of_edge_sets_grows_neither_with_pairs_nor_with_subsets(model, monkeypatch):
    own = 4 * row_bytes(model, POSITIONS, each=1)
    monkeypatch.setattr(ablated, "SETS_MEMORY", own)
    monkeypatch.setattr(residual_edges, "MEMORY", 8 * own)
    monkeypatch.setattr(residual_edges, "PROJECTED", 8 * POSITIONS * 32)
    kept = np.random.default_rng(1).random((6, len(edge_map(model)))) < 0.3
    few = most_held(lambda: with_edges_kept(model, asked(4), kept[:1]))
    pairs = most_held(lambda: with_edges_kept(model, asked(12), kept[:1]))
    subsets = most_held(lambda: with_edges_kept(model, asked(2), kept))
    assert max(pairs, subsets) <= 1.05 * few
    # The writes of four rows once, and what one block's readers and the logits take; never all rows at once.
    assert few < 3 * own
