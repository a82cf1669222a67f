"""Add what a verb computed to an atlas, as a layer."""

import shlex
from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.core.errors import PatchclampError

OPTIONS = ("model", "target", "contrast", "corrupt", "baseline", "method", "level", "basis", "top")


def refuse_if_unwritable(path: str, model: Any) -> None:
    """Refuse, before anything is computed, an atlas that an explained answer cannot be added to.

    Raises:
        PatchclampError: no atlas there, one of another model, or a folder that cannot be written.
    """
    import tempfile

    from patchclamp.atlas.atlas import open_atlas

    subject = open_atlas(path).page().subject
    if subject.hash != model.hash:
        raise PatchclampError(
            expected=f"an atlas of {model.name}, the model that is explained",
            got=f"{path}, of {subject.slug} with other weights",
            remedy="Bake an atlas of this model, or leave --atlas out.",
        )
    try:
        layers = Path(path) / "layers"
        layers.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=layers):
            return
    except OSError as problem:
        raise PatchclampError(
            expected="an atlas that layers can be added to",
            got=f"{path}: {problem.strerror}",
            remedy="Check the folder's permissions.",
        ) from problem


def add_graph(
    path: str, graph: Any, options: Namespace, began: str, duration_s: float, *, verb: str = "explain", log: str = ""
) -> str:
    """Add an explained answer to an atlas and return the layer's id."""
    from patchclamp.atlas.store.layers import write_graph
    from patchclamp.atlas.store.provenance import Run, host, versions

    command = shlex.join(["patchclamp", *options.words])
    run = Run(
        verb=verb, command=command, made=f"the graph of {options.target!r} after {options.prompt!r}"[:200],
        began=began, duration_s=round(duration_s, 3), host=host(), versions=versions("torch", "transformers"),
        seeds={"seed": options.seed}, hashes={"model": str(graph.subject.get("hash", ""))},
        options={
            name: str(value) for name in OPTIONS if (value := getattr(options, name, None)) not in (None, [])
        },
        log=(f"{len(graph.nodes)} nodes{log}",), rebuild=command + "\n",
    )  # fmt: skip
    return write_graph(path, graph, run=run)
