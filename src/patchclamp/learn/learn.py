"""Train a network on tasks, one after another."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.provenance import read_versions
from patchclamp.core.resume import open_or_resume
from patchclamp.core.stream import Stream
from patchclamp.core.subject import Progress
from patchclamp.core.training import STREAM, SUMMARY, Training
from patchclamp.subjects.hashing import describe_structure
from patchclamp.subjects.threads import pinned_threads


@checked
def learn(
    subject: Any,
    stream: Stream,
    *,
    method: str | Method | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Training:
    """Train a network, in place, on the tasks of a stream one after another.

    Args:
        subject: the network, such as ``pc.wrap(module, example)`` gives it; it answers with a logit per class.
        stream: the tasks in order.
        method: a method of the room ``learn`` by name, or one of your own; ``hlop`` by default.
        out: a new or empty folder, in which the weights after every task and the training are kept.
        resume: go on with an interrupted training in ``out``; of one that ended, weights and training come back.
        seed: of everything random.
        progress: called with what is done and what there is in all.
        options: of the method; see ``patchclamp methods learn/NAME``.

    Returns:
        Training: curves, and the accuracy on every task after each, with ACC, BWT and FWT.

    Raises:
        PatchclampError: an unknown method or option, a subject that cannot be trained, a stream of other inputs than
            its own, or a folder that was begun with a network of other parts.

    Cost: stated by the method's card.

    Example:
        >>> import torch
        >>> from patchclamp.loaders import wrap
        >>> from patchclamp.organisms.learners import make
        >>> stream = make("learner-subspaces", n_train=200, n_test=100).stream
        >>> layer = wrap(torch.nn.Linear(100, 5, bias=False), torch.zeros(1, 100))
        >>> abs(learn(layer, stream, passes=2).bwt.value) < 0.05
        True
    """
    chosen = find_method(method or find_default("learn"), "learn")
    training: Training
    if out is None:
        training = chosen(subject, stream, seed=seed, progress=progress, **options)
        return training
    if not chosen.resumable:
        raise PatchclampError(
            expected="a method whose training can be kept in a folder", got=chosen.name, remedy="Leave the folder out."
        )
    chosen.refuse(subject)
    plan = {
        "network": describe_structure(subject.module),
        "method": chosen.name,
        "options": asdict(chosen.make_options(options)),
        "seed": seed,
        "stream": stream.hash,
        "threads": torch.get_num_threads(),
    }
    manifest = {"plan": plan, "versions": read_versions("patchclamp", "torch")}
    is_new, what = not Path(out).exists(), "network, stream and options"
    with open_or_resume(out, kind=STREAM, manifest=manifest, resume=resume, what=what) as bundle:
        is_begun = bool(bundle.pieces)
        try:
            with pinned_threads(int(bundle.manifest["plan"]["threads"])):
                training = chosen(subject, stream, seed=seed, progress=progress, keep=bundle.once, **options)
        except PatchclampError:
            # The first piece holds the weights at the start: without a second one no task was learnt, and going on
            # with the same options would fail again.
            if not is_begun and len(bundle.pieces) < 2:
                bundle.discard()
                if is_new:
                    bundle.path.rmdir()
            raise
        if bundle.whole:
            return Training.load(out)
        bundle.attach(SUMMARY, json.dumps(training.to_json(), allow_nan=False).encode())
        bundle.finish()
    return training
