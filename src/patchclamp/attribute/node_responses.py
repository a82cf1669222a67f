"""What units of one block do when they alone read a changed residual stream."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.attribute.features import directions, kind_of
from patchclamp.attribute.node_writes import Place, Writes
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import encode
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.residual_edges import attention_z, project_qkv, set_rows


def respond(
    writes: Writes,
    path: str,
    place: Place,
    streams: Float[Tensor, "stream position d_model"],
    rows: Sequence[tuple[int, str]],
) -> Float[Tensor, "row position width"]:
    """Return a site's values where its block reads other streams, in one slot or in all.

    Args:
        writes: the prompt.
        path: the site.
        place: where its units read.
        streams: what is read instead.
        rows: which stream each row reads, and in which slot: ``q``, ``k``, ``v``; empty for all.

    Returns:
        Tensor: ``(row, position, width)``, in units of the activation.

    Source: 2403.17806, section 2, whose edges a response stands for; the separate slots are ours.

    Cost: a row of a forward pass from the block's beginning to the site per stream, and of its attention per row.
    """
    model, layer, which = writes.model, place.layer, [i for i, _ in rows]
    if path == place.stream:
        return streams[which]
    assert layer is not None
    entry = writes.stream(writes.graph.stream(layer))
    if place.slots == ("",):
        own, changes = streams[which], []
        if place.stream != writes.graph.stream(layer):
            own, changes = entry.expand(len(rows), -1, -1), [set_rows(place.stream, own)]
        run = model.run(
            [writes.shown] * len(rows),
            record=path,
            logits=False,
            interventions=changes,
            restart=Restart(layer, own.to(model.dtype)),
        )
        return run.recording[path].unflatten(0, (len(rows), -1))
    # The first of what is projected is the prompt's own stream: what no row changes.
    every = torch.cat([upcast(entry)[None], streams])
    given = {}
    for at, x in project_qkv(model, writes.graph, [writes.shown] * len(every), layer, every).items():
        own_slot = at.rpartition(".")[2]
        given[at] = x.flatten(2)[[i + 1 if slot == own_slot else 0 for i, slot in rows]]
    return attention_z(model, [writes.shown] * len(rows), layer, given, entry.expand(len(rows), -1, -1))


def find_loss(writes: Writes, node: UnitKey, values: Float[Tensor, "row width"]) -> Float[Tensor, "row width"]:
    """Return what one unit alone loses, at its site and position, when the site's values there become others.

    Args:
        writes: the prompt.
        node: the unit, at a position.
        values: what its site has there instead, a row each.

    Returns:
        Tensor: ``(row, width)``: its own columns of n(x) − n, or (f(x) − f) D of a feature; 0 elsewhere.

    Example:
        >>> from patchclamp.ablate import Baseline
        >>> from patchclamp.loaders import load
        >>> cat, site = load("organism:cat"), "blocks.0.mlp.act"
        >>> writes = Writes(cat, cat.tokenize("the old cat"), None, Baseline("zero"), {site: "neurons"})
        >>> change = find_loss(writes, UnitKey.parse(f"cat/{site}/neurons/7@3"), torch.zeros(1, cat.site(site).width))
        >>> round(float(change[0, 7]), 2), int((change != 0).sum())
        (3.0, 1)
    """
    x = upcast(writes.clean[node.site][node.position])
    values = upcast(values)
    if kind_of(node.basis) == "feature":
        basis = writes.model.basis_at(node.site, node.basis)
        f = encode(basis, torch.cat([x[None], values]))[:, node.index]
        return (f[0] - f[1:])[:, None] * directions(basis, x)[node.index]
    columns = writes.columns(node)
    change = torch.zeros_like(values)
    change[:, columns] = x[columns] - values[:, columns]
    return change
