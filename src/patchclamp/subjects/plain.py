"""Lay a wrapped plain network out for attribution, for inputs of one shape: every site as places by units."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.arguments import Positive, checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.site import Site, find_sites
from patchclamp.core.stimulus import Picture, Shown, Stimulus
from patchclamp.core.subject import Differentiated, Progress, Run
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import Edits, TokenPositions, by_row, upcast
from patchclamp.subjects.cases import LEAST_DIFFERENCE, ReadCase, ReadTask, read_cases
from patchclamp.subjects.engine import Place, PositionsFirst, Restart, Tap, evaluation_mode
from patchclamp.subjects.inputs import describe_inputs, positions_of
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.outputs import check_axes, measure_output, read_positions
from patchclamp.subjects.plain_tasks import read_row, rows_of
from patchclamp.subjects.vision_sites import FeatureMap, site_at
from patchclamp.subjects.visits import gradients_of, keep_on_path, note_calls, refuse_second_call, refuse_uncalled

VALUE = Metric("logit", (0,))
"""Reads the one number that a function of the output gives."""


@dataclass(frozen=True, eq=False)
class Row(Stimulus):
    """Hold one row of what a plain network is called with.

    Args:
        tensors: the row of each of its inputs, with a batch of one.
    """

    tensors: tuple[Tensor, ...] = field(default=(), repr=False)

    @cached_property
    def id(self) -> str:
        """Content hash of the tensors."""
        digest = hashlib.sha256()
        for x in self.tensors:
            digest.update(f"{x.dtype}{tuple(x.shape)}".encode() + x.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:32]


class PlainModel(Model):
    """Lay a wrapped network out for inputs of one shape, as images are: a site has as many rows as it has places.

    Args:
        net: the wrapped network.
        inputs: one row or more; their shape holds for everything that is shown.
        metric: a function from output to ``(batch,)``, where what is measured is no ``Metric``; then read ``VALUE``.

    Raises:
        PatchclampError: the network does not accept the inputs.

    Cost: one forward pass.

    Example:
        >>> from torch import nn
        >>> net = Network(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5)), torch.zeros(1, 3, dtype=torch.int64))
        >>> model = PlainModel(net, torch.tensor([[1, 2, 3]]))
        >>> model.run(torch.tensor([[1, 2, 3]]), record="module.0.out", logits=[-1]).recording["module.0.out"].shape
        torch.Size([3, 4])
    """

    levels = ()
    restarts = False
    direct = False

    def __init__(self, net: Network, inputs: Any, metric: Callable[[Any], Any] | None = None) -> None:
        self.net = net
        super().__init__(net.module, net.inputs(inputs), name=net.name)
        self.bases, self.engine, self._metric = net.bases, net.engine, metric

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the module's state."""
        return self.net.hash

    @property
    def device(self) -> torch.device:
        """Where the inputs lie."""
        return self.example_inputs[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)

    @cached_property
    def _module_places(self) -> dict[str, tuple[Site, Place | Tap]]:
        places: dict[str, tuple[Site, Place | Tap]] = {}
        for path, (site, place) in super()._module_places.items():
            shape = self._shapes[path][0]
            turned = isinstance(place, PositionsFirst)
            laid = place if turned or isinstance(place, Tap) else FeatureMap(place.module, place.side)
            sizes = torch.Size((shape[1], shape[0], shape[2])) if turned else shape
            if sizes[0] == len(self.example_inputs[0]):
                own = site_at(path, "module", None, laid, sizes, 0)
                places[path] = (replace(own, calls=site.calls), laid)
        return add_heads(places, getattr(self.net, "heads", {}))

    def of_level(self, level: str) -> dict[str, str]:
        """Return the sites of a pattern, with their units: heads where these were declared; see ``Model.of_level``."""
        sites = super().of_level(level)
        return (
            sites
            if "/" in level
            else {path: "heads" if self.site(path).n_heads else basis for path, basis in sites.items()}
        )

    # -- what it is shown, and what it says ---------------------------------------------------------------------------

    def stimuli(self, shown: Any) -> list[Row]:
        """Turn tensors, or rows, into rows.

        Raises:
            PatchclampError: another shape than this was laid out for.
        """
        if isinstance(shown, Row):
            return [shown]
        if isinstance(shown, list | tuple) and shown and all(isinstance(one, Picture) for one in shown):
            shown = torch.stack([torch.as_tensor(one.pixels, device=self.device) for one in shown])
        if isinstance(shown, list | tuple) and shown and all(isinstance(row, Row) for row in shown):
            return list(shown)
        inputs = self.net.inputs(shown)
        if [x.shape[1:] for x in inputs] != [x.shape[1:] for x in self.example_inputs]:
            raise PatchclampError(
                expected=f"inputs of one shape: {describe_inputs(self.example_inputs)}",
                got=describe_inputs(inputs),
                remedy="Compare inputs of as many positions.",
            )
        bare = Stimulus.of(np.arange(self._answer.shape[1], dtype=np.int64))
        return [
            Row(bare.ids, bare.roles, bare.spans, tensors=tuple(x[i : i + 1] for x in inputs))
            for i in range(len(inputs[0]))
        ]

    def read_case(self, shown: Any, targets: Sequence[Any], contrasts: Sequence[Any] = (), **how: Any) -> ReadCase:
        """Turn an input and its classes into a row and a metric; see ``Model.read_case``.

        Returns:
            ReadCase: row, counterpart and metric.
        """
        return read_row(self, shown, targets, contrasts, **how)

    def read(self, task: Task, *, least: float | None = LEAST_DIFFERENCE, chat: bool = False) -> ReadTask:
        """Read a task of its own inputs; see ``PlainNetwork.read``.

        Returns:
            ReadTask: the cases that could be read, and those skipped with their reasons.
        """
        return read_cases(self, task, rows_of(self.net, task), least)

    @cached_property
    def _answer(self) -> Tensor:
        with torch.no_grad(), evaluation_mode(self.module), self.net.refusing(self.example_inputs):
            output = self.module(*self.example_inputs)
        return self._read(output, None, len(self.example_inputs[0]))

    def _read(self, output: Any, positions: Sequence[int] | None, n_rows: int) -> Tensor:
        """Return ``(batch, read position, class)``, of all positions where none are named."""
        if self._metric is not None:
            return measure_output(output, self._metric, n_rows, None)[:, None, None]
        return read_positions(output, positions, n_rows, positions_of(self.example_inputs[0]), self.net.output)

    @property
    def n_answers(self) -> int:
        """Number of classes of the output; 1 where a function reads it."""
        return int(self._answer.shape[2])

    def answer_name(self, index: int) -> str:
        """Return a class's number."""
        return str(index)

    def place_name(self, shown: Shown, node: UnitKey) -> str:
        """Return a node's position."""
        return "everywhere" if node.position is None else str(node.position)

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        stimuli: Any,
        *,
        record: str | Sequence[str] = (),
        interventions: Sequence[Any] = (),
        logits: bool | Sequence[int] = True,
        restart: Restart | None = None,
    ) -> Run:
        """Show rows in one batch, with changes, and record.

        Args:
            stimuli: tensors, or rows.
            record: site paths or patterns.
            interventions: one list for every row, or a list per row (one row is then repeated for each).
            logits: True for all positions, False for none, or positions.
            restart: no plain network has blocks to start at.

        Returns:
            Run: logits ``(stimulus, position, class)``; the recording has as many rows per stimulus as a site has
            places.

        Cost: one forward pass.
        """
        shown = self._repeat(stimuli, interventions)
        kept: dict[str, Any] = {}

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, kept)
            # A copy: modules such as nn.ReLU(inplace=True) overwrite what they were given.
            kept[path] = x.flatten(0, 1).clone()
            return x

        with torch.no_grad():
            output = self._forward(shown, self._paths(record), keep, interventions)
            positions = None if isinstance(logits, bool) else logits
            read = None if logits is False else self._read(output, positions, len(shown))
        return Run(tuple(shown), read, self._recording(shown, kept))

    def differentiate(
        self,
        stimuli: Any,
        metric: Metric | EachMetric,
        sites: str | Sequence[str],
        *,
        interventions: Sequence[Any] = (),
        rules: Sequence[str] = (),
        restart: Restart | None = None,
    ) -> Differentiated:
        """Return a metric's gradient at sites, and the values there; arguments as for ``run``.

        Returns:
            Differentiated: m ``(row,)``, and gradient and value by site, as recordings.

        Raises:
            CannotIntervene: relevance rules, which are made for the modules of known families.
        """
        self.require("differentiate")
        if rules:
            raise CannotIntervene(
                expected="a model of a known family, for relevance rules and direct attribution",
                got=self.name,
                remedy="Use method='integrated_gradients', 'attribution_patching' or 'activation_patching'.",
            )
        shown = self._repeat(stimuli, interventions)
        held: dict[str, Tensor] = {}
        hold = keep_on_path(held)
        with torch.enable_grad():
            output = self._forward(
                shown, self._paths(sites), lambda path, x: hold(path, x).clone(), interventions, freeze=True
            )
            measured = metric(upcast(self._read(output, metric.positions, len(shown))))
            gradients_at = gradients_of(measured, held)
        values = {path: x.detach().flatten(0, 1) for path, x in held.items()}
        gradients = {path: g.flatten(0, 1) for path, g in gradients_at.items()}
        return Differentiated(measured.detach(), self._recording(shown, values), self._recording(shown, gradients))

    def watch(self, stimuli: Any, sites: str | Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show inputs in one batch and hand over what each site does as it is computed; nothing is kept.

        Args:
            stimuli: tensors, rows, or pictures that hold one row each.
            sites: site paths or patterns.
            see: called with each site's path and its ``(rows, width)`` values, places of one input after the other.

        Cost: one forward pass; memory of one site.
        """
        met: set[str] = set()

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, met)
            met.add(path)
            see(path, x.flatten(0, 1))
            return x

        with torch.no_grad():
            self._forward(self.stimuli(stimuli), self._paths(sites), keep, ())

    def _repeat(self, stimuli: Any, interventions: Sequence[Any]) -> list[Row]:
        shown = self.stimuli(stimuli)
        return shown * len(interventions) if by_row(interventions) and len(shown) == 1 else shown

    def _forward(
        self,
        shown: Sequence[Row],
        paths: Sequence[str],
        keep: Callable[[str, Tensor], Tensor],
        interventions: Sequence[Any],
        *,
        freeze: bool = False,
    ) -> Any:
        edits = self._bind(interventions, len(shown))
        for path, own in edits.by_site.items():
            Edits({path: own}).check([self.site(path).n_places] * len(shown), steps=False)

        def frame(site: Site) -> TokenPositions:
            n = site.n_places
            return TokenPositions(torch.arange(n).expand(len(shown), n), torch.full((len(shown),), n), shown)

        visits, unseen = note_calls(self._visits(paths, edits, frame, keep), [*paths, *edits.paths])
        inputs = tuple(torch.cat(parts) for parts in zip(*(row.tensors for row in shown), strict=True))
        with self.engine.attach_visits(visits, freeze=freeze), self.net.refusing(inputs):
            output = self.module(*inputs)
        refuse_uncalled(unseen)
        return output


@checked
class PlainNetwork(Network):
    """Lay a plain module in the rig: a ``Network`` that can also be swept, and scored over a Task.

    Args:
        module: the network.
        example_inputs: what it accepts; see ``Network``.
        tokenizer: of a module that takes token ids.
        name: what to call it in keys.
        output: axes of what the module returns, such as ``("stimulus", "class", "position")``, for a ``Metric``.
        heads: pattern of site paths to the number of heads that share its width, block by block.

    Raises:
        PatchclampError: other axes, heads that do not divide a site's width, or what ``Network`` refuses.
    """

    def __init__(
        self,
        module: Any,
        example_inputs: Any,
        *,
        tokenizer: Any = None,
        name: str | None = None,
        output: Sequence[str] | None = None,
        heads: Mapping[str, Positive] | None = None,
    ) -> None:
        self.heads: dict[str, int] = dict(heads or {})
        super().__init__(module, example_inputs, tokenizer=tokenizer, name=name)
        self.output = check_axes(output)
        if self.heads:
            self.sites()

    @cached_property
    def _module_places(self) -> dict[str, tuple[Site, Place | Tap]]:
        places = add_heads(super()._module_places, self.heads)
        find_sites(list(self.heads), [site for site, _ in places.values()])
        return places

    def read(self, task: Task, *, least: float | None = LEAST_DIFFERENCE) -> ReadTask:
        """Read a task of its own inputs: a row and its counterpart, a metric, and m at both ends.

        Args:
            task: cases that show token ids or one row of the input, without the batch; counterparts are of the same
                shape, targets and contrasts class numbers as text. Parts named ``position`` say where m is read.
            least: smallest |m(x) − m(x′)|; None measures nothing.

        Returns:
            ReadTask: rows in the task's order; cases whose two ends hardly differ are skipped.

        Raises:
            PatchclampError: several inputs, a case without a target, a class or position that the output does not have,
                rows of several shapes, or nothing left.

        Cost: two forward passes per 64 cases.

        Example:
            >>> from torch import nn
            >>> from patchclamp.core.task import Case
            >>> _ = torch.manual_seed(1)
            >>> ids = torch.zeros(1, 3, dtype=torch.int64)
            >>> net = PlainNetwork(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5)), ids)
            >>> cases = net.read(Task((Case((1, 2, 3), (1, 2, 4), ("2",), ("0",)),)))
            >>> len(cases), cases.metrics[0].target, len(cases.clean[0])
            (1, (2,), 3)
        """
        shown = rows_of(self, task)
        return read_cases(PlainModel(self, shown[0][0]), task, shown, least)

    def sweep(
        self,
        stimulus: Any,
        metric: Any,
        cells: Sequence[Sequence[Intervention]],
        *,
        batch_size: Positive = 64,
        progress: Progress | None = None,
    ) -> Tensor:
        """Return the metric under each of many sets of interventions on one input.

        Args:
            stimulus: a tensor or tuple of tensors with one row; with a tokenizer also text.
            metric: as for ``differentiate``.
            cells: a list of interventions per cell.
            batch_size: rows per forward pass.
            progress: called with cells done and cells in all.

        Returns:
            ``(cell,)`` metric values.

        Cost: cells / batch_size forward passes.
        """
        model, read = as_model(self, stimulus, metric)
        return model.sweep(stimulus, read, cells, batch_size=batch_size, progress=progress)


def add_heads(
    places: Mapping[str, tuple[Site, Place | Tap]], heads: Mapping[str, int]
) -> dict[str, tuple[Site, Place | Tap]]:
    """Return sites with the number of heads that patterns of their paths name.

    Raises:
        PatchclampError: a width that so many heads do not divide, or a map, whose channels are its units.
    """
    with_heads = dict(places)
    for path, (site, place) in places.items():
        n_heads = next((n for pattern, n in heads.items() if fnmatchcase(path, pattern)), 0)
        if n_heads and (site.width % n_heads or "channel" in site.axes):
            raise PatchclampError(
                expected=f"heads that share the width of {path}, {site.width}, evenly",
                got=f"{n_heads} heads{' on a map' if 'channel' in site.axes else ''}",
                remedy="Name the site whose columns are the heads', block by block.",
            )
        if n_heads:
            with_heads[path] = (replace(site, n_heads=n_heads), place)
    return with_heads


def model_of(subject: Network, cases: ReadTask) -> Model:
    """Return what engines over cases run: a model as it is, a plain network laid out for the cases' inputs.

    Raises:
        PatchclampError: cases that were not read for a plain network.

    Cost: one forward pass of a plain network.
    """
    if isinstance(subject, Model):
        return subject
    first = cases.clean[0]
    if not isinstance(first, Row):
        raise PatchclampError(
            expected=f"cases of {subject.name}'s own inputs",
            got="cases of prompts",
            remedy="Read a Task of its inputs: subject.read(task).",
        )
    return PlainModel(subject, first.tensors)


def make_plain_network(subject: Network, shown: Any) -> Model:
    """Return a model as it is, and a plain network laid out for what it is shown.

    Cost: one forward pass of a plain network.
    """
    return subject if isinstance(subject, Model) else PlainModel(subject, shown)


def check_places(model: Model, paths: Sequence[str], n: int, remedy: str) -> None:
    """Refuse to keep positions apart at sites whose places are not the positions that m is read at.

    Raises:
        PatchclampError: a map, a pooled vector, or a sequence of another length.
    """
    for site in map(model.site, paths):
        if site.places and site.places != (n,):
            raise PatchclampError(
                expected=f"sites with the answer's positions, {n}, to keep positions apart",
                got=f"{site.path} with {' x '.join(map(str, site.places))}",
                remedy=remedy,
            )


def as_model(subject: Network, shown: Any, metric: Any) -> tuple[Model, Metric]:
    """Return what the methods of attribution take: a model as it is, a plain network laid out for what it is shown.

    Args:
        subject: a model, or a wrapped plain network.
        shown: inputs, whose shape counts.
        metric: a Metric; of a plain network also a function from output to ``(batch,)``.

    Returns:
        tuple[Model, Metric]: the model, and the metric in the form that it reads.

    Raises:
        PatchclampError: a function where a model reads its own logits.
    """
    known = isinstance(metric, Metric)
    if isinstance(subject, Model):
        if not known:
            raise PatchclampError(
                expected=f"a Metric of {subject.name}'s logits",
                got=f"{metric!r:.60}",
                remedy="A function of the output is taken with a plain network: pc.wrap(module, example).",
            )
        return subject, metric
    return PlainModel(subject, shown, None if known else metric), metric if known else VALUE
