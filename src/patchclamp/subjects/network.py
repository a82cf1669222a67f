"""Network: any PyTorch module in the rig, its sites named by module paths."""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.basis import CHANNELS, HEADS, NEURONS, WHOLE, Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site, find_sites
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.core.subject import Capabilities, Differentiated, Run
from patchclamp.core.unit import slug
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.edits import Edits, Frame, bind
from patchclamp.subjects.engine import Engine, Place, Tap, Visit
from patchclamp.subjects.foreign import resolve_sites
from patchclamp.subjects.identity import module_hash

MODULE = "module."


class Network:
    """Lay a module in the rig: record, change and differentiate what passes through its submodules.

    Args:
        module: the network; used as it is, restored after every use.
        example_inputs: a tensor or tuple of tensors that it accepts, batch first; one forward over them tells every
            site's shape.
        name: what to call it in keys.

    Raises:
        PatchclampError: the module does not accept the example.

    Cost: one forward pass over the example, on the first question about sites.

    Example:
        >>> net = Network(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(1, 4))
        >>> [s.path for s in net.sites()][:2]
        ['module.0.in', 'module.0.out']
    """

    def __init__(self, module: nn.Module, example_inputs: Any, *, name: str | None = None) -> None:
        self.module = module
        self.example_inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
        self.name = slug(name or type(module).__name__)
        self.bases: dict[str, Basis] = {basis.name: basis for basis in (NEURONS, HEADS, CHANNELS, WHOLE)}
        self.engine = Engine(module)

    # -- what there is ------------------------------------------------------------------------------------------------

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the module's state."""
        return module_hash(self.module)

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it."""
        # torchao's tensors say that they are of floats, which they stand for, and have no gradients all the same.
        quantised = any(
            not p.is_floating_point() or type(p.data).__module__.startswith("torchao") for p in self.module.parameters()
        )
        missing = (("differentiate", "weights are quantised: record and clamp instead"),) if quantised else ()
        return Capabilities(differentiate=not quantised, missing=missing)

    def sites(self, *, modules: bool = False) -> list[Site]:
        """List the sites in forward order; with ``modules`` those of every module after the canonical ones."""
        places = {**self._places, **self._module_places} if modules else self._places
        return [site for site, _ in places.values()]

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return the sites that paths or patterns name.

        Raises:
            PatchclampError: one names nothing; the nearest paths are told.
        """
        return [self.site(path) for path in self._paths(patterns)]

    def site(self, path: str) -> Site:
        """Return one site.

        Raises:
            PatchclampError: unknown; the nearest paths are named.
        """
        return self._place(path)[0]

    def add_basis(self, basis: Basis, site: str | None = None) -> None:
        """Make a basis known by its name, for keys and interventions; at one site, or wherever its width fits."""
        self.bases[basis.name if site is None else f"{site}/{basis.name}"] = basis

    def add_dictionary(self, dictionary: Dictionary) -> None:
        """Make every basis of a dictionary known at its site, for keys, interventions and the level ``feature``.

        A dictionary that holds no hash of a model (another library's) is taken where its widths fit; names of places
        that the other library gave become this model's sites.

        Args:
            dictionary: what ``pc.load_basis`` returned.

        Raises:
            PatchclampError: it was made on other weights, names a site or a width that the model has not, or has a name
                that something else at that site has.

        Example:
            >>> net = Network(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))
            >>> lab = Basis("lab", "directions", decoder=np.eye(2, dtype=np.float32))
            >>> net.add_dictionary(Dictionary({"module.0.out": lab}, {"slug": net.name, "hash": net.hash}, "by hand"))
            >>> "module.0.out/lab" in net.bases
            True
        """
        made_on = str(dictionary.subject.get("hash", ""))
        if made_on and made_on != self.hash:
            raise PatchclampError(
                expected=f"a basis of {self.name} ({self.hash[:12]})",
                got=f"one made on {dictionary.subject.get('slug') or 'another model'} ({made_on[:12]})",
                remedy="Name the model that it was made on, or decompose this one.",
            )
        dictionary = resolve_sites(self, dictionary)
        for path, basis in dictionary.bases.items():
            site = self.site(path)
            count_units(basis, site)
            known = self.bases.get(f"{path}/{basis.name}", self.bases.get(basis.name))
            if known is not None and known.hash != basis.hash:
                raise PatchclampError(
                    expected=f"a name that nothing else at {path} has",
                    got=f"{basis.name!r}, twice",
                    remedy="Give one of them another name: patchclamp basis convert DIR --to patchclamp --name NAME.",
                )
        for path, basis in dictionary.bases.items():
            self.add_basis(basis, path)

    def basis_at(self, site: str, name: str) -> Basis:
        """Return the basis that a name means at a site.

        Raises:
            PatchclampError: none of that name; the known ones are told.
        """
        found = self.bases.get(f"{site}/{name}", self.bases.get(name))
        if found is None:
            raise PatchclampError(
                expected=f"a basis among {', '.join(self.bases)}",
                got=repr(name),
                remedy="Add it with subject.add_dictionary or add_basis; on the command line --basis DIR.",
            )
        return found

    @cached_property
    def _places(self) -> dict[str, tuple[Site, Place | Tap]]:
        return self._module_places

    @cached_property
    def _module_places(self) -> dict[str, tuple[Site, Place | Tap]]:
        return probe(self.module, self._forward_example)

    def _forward_example(self) -> None:
        self.module(*self.example_inputs)

    def _place(self, path: str) -> tuple[Site, Place | Tap]:
        known = self._places if path in self._places or not path.startswith(MODULE) else self._module_places
        if path not in known:
            find_sites([path], [site for site, _ in known.values()])
        return known[path]

    def _paths(self, patterns: str | Sequence[str]) -> list[str]:
        """Return site paths for patterns; module sites are looked for only where a pattern asks for them."""
        asked = patterns.split(",") if isinstance(patterns, str) else list(patterns)
        if not asked:
            return []
        pools = {False: self._places, True: self._module_places if any(p.startswith(MODULE) for p in asked) else {}}
        found = []
        for pattern in asked:
            pool = pools[pattern.startswith(MODULE)]
            found += find_sites([pattern], [site for site, _ in pool.values()])
        return list(dict.fromkeys(site.path for site in found))

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self, stimuli: Any, *, record: str | Sequence[str] = (), interventions: Sequence[Any] = (), logits: Any = True
    ) -> Run:
        """Show inputs, with changes, and record.

        Args:
            stimuli: a tensor or tuple of tensors, batch first.
            record: site paths or patterns.
            interventions: one list for every row, or a list per row.
            logits: whether the output is kept.

        Returns:
            Run: ``logits`` holds the module's own output.
        """
        inputs = stimuli if isinstance(stimuli, tuple) else (stimuli,)
        paths = self._paths(record)
        edits = self._bind(interventions, len(inputs[0]))
        kept: dict[str, Tensor] = {}

        def keep(path: str, x: Tensor) -> Tensor:
            once(path, kept)
            # A copy, because modules such as nn.ReLU(inplace=True) overwrite what they were given.
            kept[path] = x.detach().clone()
            return x

        visits = self._visits(paths, edits, lambda _site: None, keep)
        with torch.no_grad(), self.engine.attached(visits):
            output = self.module(*inputs)
        shown = tuple(Stimulus.of(np.array([i])) for i in range(len(inputs[0])))
        return Run(shown, output if logits else None, self._recording(shown, kept))

    def differentiate(
        self, stimuli: Any, metric: Any, sites: str | Sequence[str], *, interventions: Sequence[Any] = ()
    ) -> Differentiated:
        """Return the gradient of a metric of the output at sites.

        Args:
            stimuli: a tensor or tuple of tensors, batch first.
            metric: a Metric on ``(batch, 1, class)`` outputs, or a function from output to ``(batch,)``.
            sites: site paths or patterns.
            interventions: changes that hold meanwhile; gradients flow through them.
        """
        inputs = stimuli if isinstance(stimuli, tuple) else (stimuli,)
        edits = self._bind(interventions, len(inputs[0]))
        held: dict[str, Tensor] = {}
        hold = holder(held)

        def keep(path: str, x: Tensor) -> Tensor:
            # The copy travels on: nn.ReLU(inplace=True) would overwrite the value that is held, and its gradient.
            return hold(path, x).clone()

        visits = self._visits(self._paths(sites), edits, lambda _site: None, keep)
        with torch.enable_grad(), self.engine.attached(visits, freeze=True):
            output = self.module(*inputs)
            measured = metric(output[:, None] if hasattr(metric, "kind") else output)
        gradients = gradients_of(measured, held)
        shown = tuple(Stimulus.of(np.array([i])) for i in range(len(inputs[0])))
        values = {path: x.detach() for path, x in held.items()}
        return Differentiated(measured.detach(), self._recording(shown, values), self._recording(shown, gradients))

    def intervene(self, interventions: Sequence[Any]) -> AbstractContextManager[None]:
        """Change every forward of the module inside the context, whoever calls it.

        Example:
            >>> from patchclamp.core.intervention import change
            >>> net = Network(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))
            >>> with net.intervene([change("set", "module.0.out", 0, value=7.0)]):
            ...     float(net.module(torch.ones(1, 2)).detach()[0, 0])
            7.0
        """
        edits = self._bind(interventions, None)
        return self.engine.attached(self._visits([], edits, lambda _site: None, lambda _p, x: x))

    # -- parts shared with language -----------------------------------------------------------------------------------

    def _bind(self, interventions: Sequence[Any], n_rows: int | None) -> Edits:
        flat = [i for item in interventions for i in (item if isinstance(item, list | tuple) else [item])]
        find = {i.site: self.site(i.site) for i in flat if hasattr(i, "site")}
        return bind(interventions, len(interventions) if n_rows is None else n_rows, find, self.bases)

    def _visits(
        self,
        record: Sequence[str],
        edits: Edits,
        frame: Callable[[Site], Frame | None],
        keep: Callable[[str, Tensor], Tensor],
    ) -> list[tuple[Place | Tap, Visit]]:
        """Return one visit per site: first its edits, then what is done with the result."""
        wanted = set(record)

        def visit(path: str, site: Site) -> Visit:
            def run(x: Tensor) -> Tensor:
                new = edits.apply(x, site, frame(site)) if path in edits.by_site else x
                return keep(path, new) if path in wanted else new

            return run

        places = {path: self._place(path) for path in dict.fromkeys([*record, *edits.paths])}
        return [
            (
                place,
                _squared(visit(path, site), partial(frame, site))
                if getattr(place, "flat", False)
                else visit(path, site),
            )
            for path, (site, place) in places.items()
        ]

    def _recording(self, stimuli: Sequence[Shown], values: Mapping[str, Any]) -> Recording:
        sites = {path: self._place(path)[0] for path in values}
        return Recording(tuple(stimuli), dict(values), sites, {"subject": self.name})


def _squared(visit: Visit, frame: Callable[[], Frame | None]) -> Visit:
    """Show a visit ``(batch, position, width)`` where the network has the tokens of all rows on one axis."""

    def run(x: Tensor) -> Tensor:
        here = frame()
        square = x.unflatten(0, (1 if here is None else len(here.logical), -1))
        if torch.is_grad_enabled():
            # A place that is shared is written into in the end, and a view of it would then lie behind that change.
            square = square.clone()
        new = visit(square)
        # The reshaped view is off the path from input to output: under autograd it must be put on it.
        return x if new is square and not torch.is_grad_enabled() else new.flatten(0, 1)

    return run


def once(path: str, seen: Container[str]) -> None:
    """Refuse a second value at one site: which call is meant would be a guess."""
    if path in seen:
        raise PatchclampError(
            expected="a module that is called once per forward",
            got=f"{path}, called again",
            remedy="Use the modules that call it.",
        )


def shapes_inside(module: nn.Module, forward: Callable[[], object]) -> dict[str, torch.Size]:
    """Run one forward and return the shape of every module's input and output that is a tensor of real numbers.

    Raises:
        PatchclampError: the module does not accept its example.
    """
    shapes: dict[str, torch.Size] = {}
    handles = []
    for path, part in module.named_modules():
        if path:
            handles.append(part.register_forward_pre_hook(_noting(shapes, path, "in"), with_kwargs=True))
            handles.append(part.register_forward_hook(_noting(shapes, path, "out")))
    try:
        with torch.no_grad():
            forward()
    except Exception as problem:
        raise PatchclampError(
            expected="example inputs that the module accepts",
            got=f"{type(problem).__name__}: {problem}"[:200],
            remedy="Pass the tensors that you would call it with, batch first.",
        ) from problem
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def probe(
    module: nn.Module, forward: Callable[[], object], lead: tuple[int, ...] = ()
) -> dict[str, tuple[Site, Place | Tap]]:
    """Run one forward and return every module's input and output that is a tensor of real numbers, as sites.

    Args:
        module: the network.
        forward: runs it.
        lead: where given, only tensors of these first sizes and one more axis.

    Raises:
        PatchclampError: the module does not accept its example.
    """
    shapes = shapes_inside(module, forward)
    layouts = {
        1: ("unit",),
        2: ("stimulus", "unit"),
        3: ("stimulus", "position", "unit"),
        4: ("stimulus", "channel", "y", "x"),
    }
    found: dict[str, tuple[Site, Place | Tap]] = {}
    for path, shape in shapes.items():
        axes = layouts.get(len(shape))
        if lead and (shape[:-1] != lead):
            continue
        if axes is not None and len(shape) > 1:
            width = shape[1] if "channel" in axes else shape[-1]
            dotted, _, side = path[len(MODULE) :].rpartition(".")
            found[path] = (Site(path, "module", int(width), axes), Place(dotted, side))  # type: ignore[arg-type]
    return found


def _noting(shapes: dict[str, torch.Size], path: str, side: str) -> Callable[..., None]:
    def note(_module: nn.Module, args: Any, other: Any) -> None:
        if side == "in":
            seen = args[0] if args else next((v for v in other.values() if isinstance(v, Tensor)), None)
        else:
            seen = other[0] if isinstance(other, tuple | list) and other else other
        if isinstance(seen, Tensor) and seen.is_floating_point():
            shapes.setdefault(f"{MODULE}{path}.{side}", seen.shape)

    return note


def holder(held: dict[str, Tensor]) -> Callable[[str, Tensor], Tensor]:
    """Return a ``keep`` that puts every value on the path to the output and holds it."""

    def keep(path: str, x: Tensor) -> Tensor:
        once(path, held)
        # The first site on a path has nothing before it that asks for a gradient: it becomes the leaf.
        held[path] = x if x.requires_grad else x.detach().requires_grad_(True)
        return held[path]

    return keep


def gradients_of(measured: Tensor, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return d Σ measured / d value for every held value; zeros where the measure does not depend on it."""
    if not measured.requires_grad:
        return {path: torch.zeros_like(x) for path, x in held.items()}
    found = torch.autograd.grad(measured.sum(), list(held.values()), allow_unused=True)
    return {path: torch.zeros_like(x) if g is None else g for (path, x), g in zip(held.items(), found, strict=True)}
