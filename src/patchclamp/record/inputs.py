"""Record and survey a plain network over its own inputs: token ids, vectors or images, row after row."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import StoredRecording
from patchclamp.core.stimulus import Picture
from patchclamp.core.subject import Progress
from patchclamp.core.survey import StoredSurvey
from patchclamp.core.task import Task, words_of
from patchclamp.engines import Engine
from patchclamp.record.stream import record_corpus
from patchclamp.record.survey import survey_corpus
from patchclamp.subjects.corpora import Batches, plan_batches
from patchclamp.subjects.plain import PlainModel, PlainNetwork
from patchclamp.subjects.plain_tasks import tensor_of


@checked
def record_inputs(
    net: PlainNetwork,
    inputs: Any,
    sites: str | list[str] | tuple[str, ...],
    out: str | Path,
    *,
    store: str | None = None,
    resume: bool = False,
    batch_size: Positive = 32,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> StoredRecording:
    """Record what a wrapped network's sites do over its own inputs, to shards on disk, as ``record_corpus`` does.

    Rows are the places of each site, input after input: ``recording.of(site, i)`` is ``(place, width)``.

    Args:
        net: the wrapped network, of one input.
        inputs: a Task, whose cases' ``shown`` are taken, or arrays and token ids, each one row of the input.
        sites: site paths or patterns.
        out: a new or empty folder.
        store: ``float32``, ``float16`` or ``bfloat16``; the network's own type if omitted.
        resume: go on with an interrupted run.
        batch_size: rows per forward pass.
        progress: called with inputs done and in all.
        engine: where it is computed; this process by default.

    Returns:
        StoredRecording: the folder, opened; a stimulus has the content hash of its input as id, and a name.

    Raises:
        PatchclampError: no inputs, inputs of several shapes, unknown sites, or a resume that does not fit.

    Cost: one forward pass per batch; disk inputs × Σ places × widths × bytes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> net = PlainNetwork(torch.nn.Sequential(torch.nn.Linear(2, 3)), torch.zeros(1, 2))
        >>> with TemporaryDirectory() as folder:
        ...     record_inputs(net, torch.eye(2).numpy(), "module.0.out", folder).of("module.0.out", 1).shape
        (1, 3)
    """
    model, batches = read_inputs(net, inputs, batch_size=batch_size)
    return record_corpus(model, batches, sites, out, store=store, resume=resume, progress=progress, engine=engine)


@checked
def survey_inputs(
    net: PlainNetwork,
    inputs: Any,
    sites: str | list[str] | tuple[str, ...],
    out: str | Path,
    *,
    resume: bool = False,
    batch_size: Positive = 32,
    seed: Natural = 0,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> StoredSurvey:
    """Survey every unit of a wrapped network's sites over its own inputs; arguments and errors as ``record_inputs``.

    Args:
        net: the wrapped network, of one input.
        inputs: a Task, or arrays and token ids.
        sites: site paths or patterns.
        out: a new or empty folder.
        resume: go on with an interrupted run.
        batch_size: rows per forward pass.
        seed: of the sample.
        progress: called with inputs done and in all.
        engine: where it is computed; this process by default.

    Returns:
        StoredSurvey: statistics of every unit and its strongest inputs, by name.

    Cost: one forward pass per batch; memory as for ``survey_corpus``.
    """
    model, batches = read_inputs(net, inputs, batch_size=batch_size)
    return survey_corpus(model, batches, sites, out, resume=resume, seed=seed, progress=progress, engine=engine)


def _read_nothing(_output: Any) -> torch.Tensor:
    """Read nothing: what is recorded needs no output that a metric can read."""
    return torch.zeros(1)


def read_inputs(net: PlainNetwork, inputs: Any, *, batch_size: int) -> tuple[PlainModel, Batches]:
    """Return a network laid out for some inputs, and these in batches.

    Returns:
        tuple[PlainModel, Batches]: the network, and its batches in order.

    Raises:
        PatchclampError: none, or several shapes.
    """
    listed = [case.shown for case in inputs.cases] if isinstance(inputs, Task) else inputs
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes):
        raise PatchclampError(
            expected="a Task, or a list of inputs", got=f"{inputs!r:.60}", remedy="Pass arrays or tuples of ids."
        )
    shown = [one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one for one in listed]
    rows = [tensor_of(net, one) for one in shown]
    shapes = {tuple(x.shape[1:]) for x in rows}
    if len(shapes) != 1:
        raise PatchclampError(
            expected="at least one input, and all of one shape",
            got=" and ".join(map(str, sorted(shapes))) or "none",
            remedy="Record those of each shape by themselves.",
        )
    model = PlainModel(net, rows[0], _read_nothing)
    pictures = [
        Picture(row.id, f"input {i}" if isinstance(one, np.ndarray) else words_of(one), x[0].cpu().numpy())
        for i, (one, x, row) in enumerate(zip(shown, rows, model.stimuli(torch.cat(rows)), strict=True))
    ]
    return model, plan_batches(lambda: pictures, "arrays", batch_size)
