"""Read every neuron's weights as tokens by the unembedding, without running the model (vocabulary decoding)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.descriptions import Descriptions
from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import Block
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.describe.decoding import AT_ONCE, check_tokens, describe_by_tokens
from patchclamp.subjects.protocols import Records, Unembeds, WritesAndReads

LEAST_UP = 1e-6
"""Below this size of the other branch nothing can be said of a gate."""


class Subject(WritesAndReads, Unembeds, Records, Protocol):
    """What vocabulary decoding needs; it is run only where a task is given."""


@dataclass(frozen=True)
class VocabularyOptions:
    """Options of vocabulary decoding."""

    side: Literal["write", "read", "gate"] = option(
        "write", "which weights: what a neuron writes, what it reads, or in a gated MLP what its gate reads"
    )
    tokens: int = option(10, "tokens per neuron", least=1)
    negative: bool = option(False, "decode −w: what a negative activation writes, or what drives it down")


def vocabulary(
    subject: Subject, options: VocabularyOptions, task: Task | None = None, *, progress: Progress
) -> Descriptions:
    r"""Describe every MLP neuron by the tokens that its weights stand for.

    p_i = softmax(W_U norm(w_i)), w_i the neuron's column of W_down (``write``), its row of W_up (``read``; of W_in in
    an MLP without a gate) or of W_gate (``gate``), each row times the gain of the norm before the MLP. The final norm
    divides by the size of w_i and applies its gain. The mean unembedding, which says nothing of a neuron, adds the same
    to every logit and leaves p as it is. Special tokens, whose rows are never trained as text is, are left out.

    In a gated MLP act = φ(gate) · up, and φ(gate) may be negative: clamping ``up`` then moves the tokens the other way.
    With a task w_i is multiplied by the sign of the mean of φ(gate) over its cases for ``write`` and ``read``.

    Args:
        subject: a language model whose family is known.
        options: side, tokens, sign.
        task: prompts over which the gates' signs are read; none by default, and then w_i stays as it is.
        progress: called with sites done and in all.

    Returns:
        Descriptions: of all neurons of ``blocks.*.mlp.act``, tokens weighted by p. Measures: ``peak``, p of the first
        token; ``specialised``, ``peak`` times ``concept``; ``concept``, the share of the listed tokens
        that are of it; ``margin``, log p of the first less that of the second; ``gate``, the mean of φ(gate) where a
        task is given. Of one concept are forms of one word, and tokens whose unembedding rows are closer than 99 % of
        random pairs. ``order("specialised")`` ranks the neurons. ``provenance.extra["tied_embeddings"]`` says whether
        tokens are embedded by the rows that unembed them: then what neurons of early layers read decodes by itself.

    Raises:
        PatchclampError: a subject without neurons, or a side that its MLPs lack.

    Source: 2501.02688, which decodes the rows that are read; side ``write`` and the gate's sign are ours. On toys the
    rows that are read have no causal effect on the tokens that they decode to; ``token_effect`` measures it. With the
    gate's sign a description is of what ``up`` does, which is what the paper clamps, not of the neuron itself.

    Cost: neurons × d_model × tokens products, in blocks of at most 2²⁵ logits; no forward pass without a task.

    Example:
        >>> from patchclamp.describe import describe
        >>> from patchclamp.loaders import load
        >>> words = describe(load("organism:cat"), method="vocabulary", tokens=1)
        >>> words.text(words.index.place("blocks.0.mlp.act/neurons/7"))
        ' sat'
    """
    sites = [site for site in subject.sites() if site.kind == "mlp.act"]
    gated = {site.path for site in subject.sites() if site.kind == "mlp.up"}
    check_tokens(subject, len(sites), "blocks.N.mlp.act")
    if options.side == "gate" and not gated:
        raise PatchclampError(
            expected="gated MLPs, for side 'gate'",
            got=f"{subject.name}, whose MLPs have none",
            remedy="Use side 'read', which is what their neurons read.",
        )
    signs = {} if task is None else _gates(subject, task, [site.path for site in sites])

    def directions() -> Iterator[Tensor]:
        for done, site in enumerate(sites):
            rows = _directions(subject, site.path, site.path.replace(".act", ".up") in gated, options.side)
            if task is not None and options.side != "gate":
                sign = torch.sign(torch.as_tensor(signs[site.path], dtype=rows.dtype, device=rows.device))
                rows = rows * sign[:, None]
            yield -rows if options.negative else rows
            progress(done + 1, len(sites))

    gates = {} if task is None else {"gate": np.concatenate([signs[site.path] for site in sites])}
    blocks = [Block(site.path, "neurons", site.width) for site in sites]
    return describe_by_tokens(subject, blocks, directions(), options.tokens, "rule/vocabulary 1", gates)


def _directions(subject: Subject, site: str, gated: bool, side: str) -> Tensor:
    """Return w_i of every neuron at a site, ``(unit, d_model)``."""
    if side == "write":
        rows: Tensor = subject.write_directions(site, slice(None))
    else:
        rows = subject.read_directions(site, slice(None), "mlp.up" if gated and side == "read" else "mlp.pre")
    return rows


def _gates(subject: Subject, task: Task, sites: list[str]) -> dict[str, np.ndarray]:
    """Return by site the ``(unit,)`` mean of φ(gate) = act / up over a task's counted tokens; 1 without a gate."""
    known = {site.path for site in subject.sites()}
    tables: dict[str, np.ndarray] = {}
    for site in sites:
        up = site.replace(".act", ".up")
        if up not in known:
            tables[site] = np.ones(subject.write_directions(site, slice(None)).shape[0])
            continue
        sums, counts = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
        for case in task.cases:
            values = subject.run(case.shown, record=[site, up], logits=False).recording
            act, other = (values[path].double().cpu()[values.counted] for path in (site, up))  # (token, unit)
            seen = other.abs() > LEAST_UP
            sums = sums + torch.where(seen, act / other, 0.0).sum(0)
            counts = counts + seen.sum(0)
        tables[site] = (sums / counts.clamp(min=1)).numpy()
    return tables


def _cost(sizes: Sizes, _options: VocabularyOptions) -> Cost:
    held = min(sizes.units * sizes.targets or AT_ONCE, max(AT_ONCE, sizes.targets))
    return Cost(forward=sizes.cases, bytes=2 * 4 * held)  # logits, and their exponentials


METHOD = Method(
    vocabulary,
    name="vocabulary",
    room="describe",
    title="vocabulary decoding by the unembedding",
    question="Which tokens does each neuron stand for, by its weights alone?",
    papers=(Paper("2501.02688"),),
    keys=("unit",),
    cost=_cost,
    oracle="oracles.vocabulary:vocabulary",
    calibrated_on=("neuron-gpt2", "neuron-llama", "cat"),
    must_show="the planted neuron's first token is the answer that it gives",
    must_miss={"facts-gpt2": "the neuron writes what a later head turns into the word"},
    sources=("describe/decoding.py",),
    default_for=("describe",),
)
