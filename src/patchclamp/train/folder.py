"""A training's states on disk, of which the last is whole whatever happens."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import Damaged, PatchclampError, report_damage
from patchclamp.core.provenance import read_versions
from patchclamp.core.resume import open_or_resume
from patchclamp.core.training import KIND
from patchclamp.train.loop import Loop, Part
from patchclamp.train.state import pack, unpack


class Folder:
    """The bundle in which a training's states lie, one at a time.

    Args:
        bundle: begun, or opened to go on.
        every_s: seconds from one state to the next.
    """

    def __init__(self, bundle: Bundle, every_s: float) -> None:
        self.bundle, self.every_s = bundle, every_s
        self.saved = time.monotonic()

    def restore(self, loop: Loop) -> None:
        """Put the last state back, or commit the first one, from which weights drawn by chance can be had again.

        Raises:
            Damaged: the state is not what was committed.
        """
        if not self.bundle.pieces:
            self.save(loop)
            return
        entry = self.bundle.pieces[-1]
        self.bundle.check(entry["piece"])
        with report_damage(self.bundle.path, "Begin again in another folder."):
            try:
                loop.load_state_dict(unpack(entry["state"], self.bundle.read(entry["piece"])))
            except RuntimeError as problem:  # torch's, of shapes that do not fit
                raise ValueError(str(problem)) from problem
        self._drop(self.bundle.pieces[:-1])

    def save_if_due(self, loop: Loop) -> None:
        """Commit a state where enough time has passed, or nothing comes after it."""
        if loop.ended or time.monotonic() - self.saved >= self.every_s:
            self.save(loop)

    def save(self, loop: Loop) -> None:
        """Commit a state, and then take away the one before it.

        Raises:
            PatchclampError: a full disk, or weights that are not finite; the state before is kept.
        """
        arrays: dict[str, np.ndarray] = {}
        state = pack(loop.state_dict(), arrays)
        before = self.bundle.pieces
        self.bundle.append(f"state-{loop.step:08d}", arrays, state=state)
        self._drop(before)
        self.saved = time.monotonic()

    def _drop(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            self.bundle.drop(entry["piece"])

    @property
    def threads(self) -> int:
        """Threads that the training was begun with.

        Raises:
            Damaged: the manifest does not say.
        """
        threads = self.bundle.manifest.get("plan", {}).get("threads")
        if not isinstance(threads, int):
            raise Damaged(
                expected="a training's manifest", got=f"{self.bundle.path}, without threads", remedy="Begin again."
            )
        return threads


@contextmanager
def open_folder(
    out: str | Path, loop: Loop, batches: Iterable[Any], about: Mapping[str, Any], *, resume: bool, every_s: float
) -> Iterator[Folder]:
    """Hold a training's folder for this process alone: begun, or gone on with.

    Yields:
        Folder: restored to the last state that was saved.

    Raises:
        PatchclampError: it holds something else, another process writes there, or another plan was begun there.
    """
    with open_or_resume(out, kind=KIND, manifest=manifest_of(loop, batches, about), resume=resume) as bundle:
        yield Folder(bundle, every_s)


def manifest_of(loop: Loop, batches: Iterable[Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything known that decides the weights, as JSON-ready data.

    Returns:
        dict[str, Any]: JSON-ready; equal manifests train to equal weights.

    Raises:
        PatchclampError: ``about`` has names that stand for something else.
    """
    if taken := {"training", "threads"} & about.keys():
        raise PatchclampError(
            expected="about without the names training and threads",
            got=", ".join(sorted(taken)),
            remedy="Choose other names.",
        )
    plan = {name: value for name, value in asdict(loop.plan).items() if name not in ("steps", "passes", "threads")}
    stop = loop.early_stop
    return {
        "plan": {
            **about,
            "training": {
                **plan,
                "steps": loop.n_steps,
                "batches": _batches(batches),
                "own": sorted(loop.own),
                "early_stop": None if stop is None else {k: v for k, v in vars(stop).items() if k != "measure"},
                "objectives": {part.name or "objective": _part(part) for part in loop.parts},
            },
            "threads": loop.plan.threads or torch.get_num_threads(),
        },
        "versions": read_versions("patchclamp", "torch"),
    }


def _batches(batches: Iterable[Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"class": type(batches).__name__}
    size = getattr(batches, "batch_size", None)
    with suppress(TypeError):  # some have no end
        described["n"] = len(batches)  # type: ignore[arg-type]
    return described | ({"batch_size": size} if isinstance(size, int) else {})


def _part(part: Part) -> dict[str, Any]:
    """Return a module's tensors and an optimizer's options."""
    module = part.objective.module
    tensors = {
        name: f"{str(t.dtype).removeprefix('torch.')} {' x '.join(map(str, t.shape))} {t.device.type}"
        for name, t in (*module.named_parameters(), *module.named_buffers())
    }
    groups = [
        {name: str(value) for name, value in group.items() if name != "params"} | {"params": len(group["params"])}
        for group in part.optimizer.param_groups
    ]
    return {"tensors": tensors, "optimizer": type(part.optimizer).__name__, "groups": groups}
