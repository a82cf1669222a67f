"""Any PyTorch module in the rig, its sites named by module paths."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.basis import CHANNELS, HEADS, NEURONS, WHOLE
from patchclamp.core.checks import same_subject
from patchclamp.core.edit import Edit
from patchclamp.core.errors import PatchclampError, PatchclampWarning
from patchclamp.core.intervention import Intervention
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site, find_sites, listed_patterns
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.core.subject import Capabilities, Differentiated, LinearMap, Run
from patchclamp.core.unit import slug
from patchclamp.subjects.apply import Edits, TokenPositions, bind, by_row
from patchclamp.subjects.basis_table import BasisTable
from patchclamp.subjects.engine import Engine, Place, PositionsFirst, Tap, Visit
from patchclamp.subjects.hashing import module_hash
from patchclamp.subjects.inputs import describe_inputs, positions_of, rows_of
from patchclamp.subjects.outputs import measure_output
from patchclamp.subjects.parameters import apply_edit, linear_map
from patchclamp.subjects.probing import MODULE, shapes_inside, sites_of_shapes
from patchclamp.subjects.quantised import quantised_modules, reason_without_gradients
from patchclamp.subjects.text import Tokenizer
from patchclamp.subjects.visits import (
    gradients_of,
    keep_on_path,
    note_calls,
    refuse_second_call,
    refuse_uncalled,
    second_call_error,
    unflatten_tokens,
)

LANGUAGE_ONLY = ("generate", "steps", "tokenize", "continuation", "tokenizer", "context", "unembed", "read_out")


class Lacking(PatchclampError, AttributeError):
    """The subject does not have what another kind of subject has; ``hasattr`` says no."""


@checked
class Network(BasisTable):
    """Lay a module in the rig: record, change and differentiate what passes through its submodules.

    Args:
        module: the network; run in evaluation mode, restored after every use.
        example_inputs: a tensor or tuple of tensors that it accepts, batch first; one forward over them tells every
            site's shape. Sites of three axes are (stimulus, position, unit); where the example shows that a module has
            positions first, as ``nn.LSTM`` has by default, it is shown stimuli first.
        tokenizer: of a module that takes token ids ``(batch, position)``; texts can then be shown.
        name: what to call it in keys.

    Raises:
        PatchclampError: the module does not accept the example, or a tokenizer beside an example that is no token ids.

    Cost: one forward pass over the example, on the first question about sites.

    Example:
        >>> net = Network(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(1, 4))
        >>> [s.path for s in net.sites()][:2]
        ['module.0.in', 'module.0.out']
    """

    instead = (
        "A plain network can run, record, intervene, differentiate, measure and sweep; pc.attribute_nodes(net, inputs, "
        "metric, levels=['module.….out']) scores its units, pc.attribute_pairs(net, net.read(task), "
        "sites=['module.….out']) over a Task. Text needs a language model of transformers, pictures in files "
        "pc.wrap(…, prepare=…)."
    )
    """What a caller can do who handed it to something that takes another kind of subject."""
    stimulus_kind: str = "arrays"
    """Kind of stimulus that it is shown, as manifests name it."""
    output: tuple[str, ...] | None = None
    """Axes of what the module returns, where they were named."""

    def __init__(
        self, module: nn.Module, example_inputs: Any, *, tokenizer: Any = None, name: str | None = None
    ) -> None:
        self.module = module
        self.example_inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
        self.name = slug(name or type(module).__name__)
        self.bases = {basis.name: basis for basis in (NEURONS, HEADS, CHANNELS, WHOLE)}
        self.engine = Engine(module)
        self._tokenizer = None if tokenizer is None else self._tokenizer_of(tokenizer)

    def _tokenizer_of(self, bare: Any) -> Tokenizer:
        first = self.example_inputs[0]
        if (
            not isinstance(first, Tensor)
            or first.ndim != 2
            or first.is_floating_point()
            or len(self.example_inputs) > 1
        ):
            raise PatchclampError(
                expected="one example of token ids (batch, position) beside a tokenizer",
                got=describe_inputs(self.example_inputs),
                remedy="Leave the tokenizer out, or pass ids such as torch.tensor([[1, 2, 3]]).",
            )
        if not callable(bare) or not hasattr(bare, "all_special_ids"):
            raise PatchclampError(
                expected="a transformers tokenizer",
                got=type(bare).__name__,
                remedy="Leave it out and show token ids.",
            )
        return Tokenizer(bare)

    # -- what there is ------------------------------------------------------------------------------------------------

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the module's state."""
        return module_hash(self.module)

    def forget_hash(self) -> None:
        """Say that weights were changed in place: the hash is computed anew when it is next asked for."""
        self.__dict__.pop("hash", None)

    @cached_property
    def quantised(self) -> bool:
        """Whether some weights are quantised: a sum of what parts of a module do then is not what it does."""
        return next(quantised_modules(self.module), None) is not None

    @cached_property
    def gradientless(self) -> str:
        """Why gradients do not flow through its weights, in words; empty where they do."""
        return reason_without_gradients(self.module)

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it."""
        missing: tuple[tuple[str, str], ...] = tuple((name, self.instead) for name in ("generate", "attention"))
        if self.gradientless:
            missing = (("differentiate", self.gradientless), *missing)
        return Capabilities(differentiate=not self.gradientless, missing=missing)

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name, to be read; tied ones once."""
        return {name: parameter.detach() for name, parameter in self.module.named_parameters()}

    def reader(self, site: str) -> LinearMap:
        """Return which linear map reads a site: the down projection for ``mlp.act``, W_O for ``attn.z``.

        Raises:
            PatchclampError: no site, or one that no linear map reads.
        """
        place = self._place(site)[1]
        return linear_map(self.module, site, place.module if getattr(place, "side", "") == "in" else None)

    def edited(self, edit: Edit) -> AbstractContextManager[None]:
        """Return a context in which an edit is in force, and ``hash`` is ``edit.after``.

        After it, also where its body raises, every parameter is as before, to the bit. Contexts nest: an edit that was
        made for the weights with another one in force (its ``before`` is the other's ``after``) goes inside.

        Raises:
            PatchclampError: an edit that was made for other weights, or names parameters that are not there.

        Cost: a copy of the parameters that it changes.

        Example:
            >>> net = Network(nn.Sequential(nn.Linear(1, 1, bias=False)), torch.zeros(1, 1))
            >>> edit = Edit({"0.weight": np.ones((1, 1), dtype=np.float32)}, net.hash)
            >>> with net.edited(edit):
            ...     net.hash == edit.after
            True
        """
        return apply_edit(self, edit)

    def sites(self, *, modules: bool = False) -> list[Site]:
        """List the sites in forward order; with ``modules`` those of every module after the canonical ones."""
        places = {**self._places, **self._module_places} if modules else self._places
        return [site for site, _ in places.values()]

    def select(self, patterns: str | Sequence[str]) -> list[Site]:
        """Return the sites that paths or patterns name.

        Raises:
            PatchclampError: one names nothing; the nearest paths are named.
        """
        return [self.site(path) for path in self._paths(patterns)]

    def site(self, path: str) -> Site:
        """Return one site.

        Raises:
            PatchclampError: unknown; the nearest paths are named.
        """
        return self._place(path)[0]

    @cached_property
    def _places(self) -> dict[str, tuple[Site, Place | Tap]]:
        return self._module_places

    @cached_property
    def _module_places(self) -> dict[str, tuple[Site, Place | Tap]]:
        return sites_of_shapes(self._shapes, rows=self._example_rows)

    @cached_property
    def _shapes(self) -> dict[str, list[torch.Size]]:
        return shapes_inside(self.module, self._forward_example)

    @property
    def _example_rows(self) -> int | None:
        first = self.example_inputs[0] if self.example_inputs else None
        return len(first) if isinstance(first, Tensor) and first.ndim else None

    def inputs(self, shown: Any) -> tuple[Any, ...]:
        """Return what the module is called with: tensors as they are; texts as ids, where there is a tokenizer.

        Raises:
            PatchclampError: something else, no row, or texts of unequal length.
        """
        texts = [shown] if isinstance(shown, str) else shown
        if isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts):
            return (self._ids(texts),)
        inputs = shown if isinstance(shown, tuple) else (shown,)
        first = inputs[0] if inputs else None
        if not isinstance(first, Tensor) or first.ndim == 0 or len(first) == 0:
            raise PatchclampError(
                expected="a tensor, or a tuple of tensors, batch first with at least one row",
                got=describe_inputs(inputs),
                remedy=f"Pass what the module is called with; its example was {describe_inputs(self.example_inputs)}.",
            )
        return inputs

    @contextmanager
    def refusing(self, inputs: tuple[Any, ...]) -> Iterator[None]:
        """Say which inputs the module raised on; its own traceback stays behind."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, IndexError, RuntimeError) as problem:
            raise PatchclampError(
                expected=f"inputs that {type(self.module).__name__} accepts, such as "
                f"{describe_inputs(self.example_inputs)}",
                got=f"{describe_inputs(inputs)}: {type(problem).__name__}: {problem}"[:300],
                remedy="Pass what you would call it with, batch first.",
            ) from problem

    def _ids(self, texts: Sequence[str]) -> Tensor:
        if self._tokenizer is None:
            raise PatchclampError(
                expected=f"tensors for {self.name}, which has no tokenizer",
                got=f"text {texts[0]!r:.40}",
                remedy="Wrap it with tokenizer=, or show token ids.",
            )
        rows = [self._tokenizer.stimulus(text).ids for text in texts]
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise PatchclampError(
                expected="texts of as many tokens: nobody knows how a plain module treats padding",
                got=f"{' and '.join(map(str, lengths))} tokens",
                remedy="Show those of each length by themselves.",
            )
        first = self.example_inputs[0]
        return torch.from_numpy(np.stack(rows)).to(first.device, first.dtype)

    def _forward_example(self) -> None:
        self.module(*self.example_inputs)

    def _place(self, path: str) -> tuple[Site, Place | Tap]:
        known = self._places if path in self._places or not path.startswith(MODULE) else self._module_places
        if path not in known:
            self._refuse_silent_module(path)
            find_sites([path], [site for site, _ in known.values()])
        return known[path]

    def _refuse_silent_module(self, path: str) -> None:
        """Say why a module that is there has no sites: its forward is not called, or gives no numbers."""
        dotted, _, side = path.removeprefix(MODULE).rpartition(".")
        if path.startswith(MODULE) and side in ("in", "out") and dotted in dict(self.module.named_modules()):
            raise PatchclampError(
                expected=f"a module whose {'input' if side == 'in' else 'output'} is a tensor of 2 to 4 axes",
                got=f"{path}, where the example had none",
                remedy="Its forward is not called, or takes and gives something else (nn.MultiheadAttention reads the "
                "weights of its out_proj by itself). Choose the module that encloses it.",
            )

    def _paths(self, patterns: str | Sequence[str]) -> list[str]:
        """Return site paths for patterns; module sites are looked for only where a pattern asks for them.

        Sites of modules that run several times in one forward fall out of patterns, and are refused by name.
        """
        asked = listed_patterns(patterns)
        if not asked:
            return []
        pools = {False: self._places, True: self._module_places if any(p.startswith(MODULE) for p in asked) else {}}
        matched = []
        for pattern in asked:
            pool = pools[pattern.startswith(MODULE)]
            if pattern not in pool:
                self._refuse_silent_module(pattern)
            matching = find_sites([pattern], [site for site, _ in pool.values()])
            several = [site for site in matching if site.calls > 1]
            if len(several) == len(matching):
                raise second_call_error(several[0].path)
            matched += [site for site in matching if site.calls == 1]
        return list(dict.fromkeys(site.path for site in matched))

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self, stimuli: Any, *, record: str | Sequence[str] = (), interventions: Sequence[Any] = (), logits: Any = True
    ) -> Run:
        """Show inputs, with changes, and record.

        Args:
            stimuli: a tensor or tuple of tensors, batch first; with a tokenizer also text.
            record: site paths or patterns.
            interventions: one list for every row, or a list per row.
            logits: whether the output is kept.

        Returns:
            Run: ``logits`` holds the module's own output; the recording's values are batches, ``(stimulus, unit)``,
            ``(stimulus, position, unit)`` or ``(stimulus, channel, y, x)``.

        Raises:
            PatchclampError: unknown sites, units or positions out of range, a module that this forward did not call.
        """
        inputs = self.inputs(stimuli)
        shown = rows_of(inputs[0])
        paths = self._paths(record)
        edits = self._changes(interventions, shown, inputs)
        kept: dict[str, Tensor] = {}

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, kept)
            # A copy, because modules such as nn.ReLU(inplace=True) overwrite what they were given.
            kept[path] = x.detach().clone()
            return x

        visits, unseen = note_calls(self._visits(paths, edits, lambda _site: None, keep), [*paths, *edits.paths])
        with torch.no_grad(), self.engine.attach_visits(visits), self.refusing(inputs):
            output = self.module(*inputs)
        refuse_uncalled(unseen)
        return Run(shown, output if logits else None, self._recording(shown, kept))

    def differentiate(
        self,
        stimuli: Any,
        metric: Any,
        sites: str | Sequence[str],
        *,
        interventions: Sequence[Any] = (),
    ) -> Differentiated:
        """Return the gradient of a metric of the output at sites.

        Args:
            stimuli: a tensor or tuple of tensors, batch first; with a tokenizer also text.
            metric: a Metric, read at its positions of an output ``(batch, position, class)``, or of ``(batch, class)``,
                which has one position; or a function from output to ``(batch,)``.
            sites: site paths or patterns.
            interventions: changes that hold meanwhile; gradients flow through them.

        Returns:
            Differentiated: m ``(row,)``, and gradient and value by site, as recordings.

        Raises:
            PatchclampError: as ``run``; an output in which the metric's axes cannot be known, or a position or class
                that it does not have.

        Example:
            >>> from patchclamp.core.metric import Metric
            >>> net = Network(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)), torch.zeros(1, 6, dtype=torch.int64))
            >>> x, last_but_one = torch.tensor([[1, 2, 3]]), Metric("logit_difference", (2,), (0,), positions=(-2,))
            >>> net.differentiate(x, last_but_one, "module.0.out").gradients["module.0.out"].shape
            torch.Size([1, 3, 4])
        """
        inputs = self.inputs(stimuli)
        shown, asked = rows_of(inputs[0]), self._paths(sites)
        edits = self._changes(interventions, shown, inputs)
        held: dict[str, Tensor] = {}
        hold = keep_on_path(held)

        def keep(path: str, x: Tensor) -> Tensor:
            # The copy travels on: nn.ReLU(inplace=True) would overwrite the value that is held, and its gradient.
            return hold(path, x).clone()

        visits, unseen = note_calls(self._visits(asked, edits, lambda _site: None, keep), [*asked, *edits.paths])
        with torch.enable_grad(), self.engine.attach_visits(visits, freeze=True):
            with self.refusing(inputs):
                output = self.module(*inputs)
            refuse_uncalled(unseen)
            measured = measure_output(output, metric, len(shown), positions_of(inputs[0]), self.output)
        gradients = gradients_of(measured, held)
        values = {path: x.detach() for path, x in held.items()}
        return Differentiated(measured.detach(), self._recording(shown, values), self._recording(shown, gradients))

    def measure(self, stimuli: Any, metric: Any, *, interventions: Sequence[Any] = ()) -> Tensor:
        """Return a metric's value for each row; arguments as for ``differentiate``.

        Returns:
            Tensor: ``(row,)``.
        """
        inputs = self.inputs(stimuli)
        output = self.run(inputs, interventions=interventions).logits
        return measure_output(output, metric, len(inputs[0]), positions_of(inputs[0]), self.output)

    def require(self, capability: str) -> None:
        """Raise what is missing, with its reason, where the subject lacks a capability."""
        if not getattr(self.capabilities, capability):
            reasons = dict(self.capabilities.missing)
            raise PatchclampError(
                expected=f"a subject that can {capability}", got=self.name, remedy=reasons.get(capability, "It cannot.")
            )

    def __getattr__(self, name: str) -> Any:
        if name in LANGUAGE_ONLY:
            raise Lacking(expected=f"a language model, for {name}", got=self.name, remedy=self.instead)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def input_hashes(self) -> dict[str, str]:
        """Hashes of what turns stimuli into inputs; none of arrays, which are shown as they are."""
        return {}

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
        visits = self._visits([], edits, lambda _site: None, lambda _p, x: x)
        # Whoever runs it within may be training it.
        return self.engine.attach_visits(visits, evaluate=False)

    # -- parts shared with language -----------------------------------------------------------------------------------

    def _changes(self, interventions: Sequence[Any], shown: tuple[Stimulus, ...], inputs: tuple[Any, ...]) -> Edits:
        """Bind interventions to this batch; where its shape is the example's, check places before the forward pass."""
        edits = replace(self._bind(interventions, len(shown)), shown=shown)
        alike = len(inputs) == len(self.example_inputs) and all(
            getattr(x, "shape", (0,))[1:] == getattr(y, "shape", (0,))[1:]
            for x, y in zip(inputs, self.example_inputs, strict=True)
        )
        for path, own in edits.by_site.items() if alike else ():
            site, place = self._place(path)
            if "position" in site.axes:
                n = self._shapes[path][0][0 if isinstance(place, PositionsFirst) else 1]
                Edits({path: own}).check([n] * len(shown), steps=False)
        return edits

    def _bind(self, interventions: Sequence[Any], n_rows: int | None) -> Edits:
        by_row(interventions)
        flat = [i for item in interventions for i in (item if isinstance(item, list | tuple) else [item])]
        find = {path: self.site(path) for i in flat if isinstance(i, Intervention) for path in i.sites}
        for path in find:
            self._warn_of_recurrence(path)
        for item in flat:
            if isinstance(item, Intervention):
                self._refuse_foreign(item)
        return bind(interventions, len(interventions) if n_rows is None else n_rows, find, self.bases)

    def _refuse_foreign(self, do: Intervention) -> None:
        """Refuse a change that is meant for another subject, or takes its values from one."""
        if do.subject not in (None, self.name):
            raise PatchclampError(
                expected=f"a change of {self.name}",
                got=f"one of {do.subject}, at {do.site}",
                remedy="Leave the subject out of the key, or hand it to the subject that the key names.",
            )
        if do.source is not None:
            same_subject(
                self,
                do.source.values,
                what="values recorded",
                remedy="Record this subject. To patch from one network "
                "into another on purpose, clear where they come from: dataclasses.replace(recording, provenance={}).",
            )

    def _warn_of_recurrence(self, path: str) -> None:
        place = self._place(path)[1]
        if getattr(place, "side", "") != "out":
            return
        module = self.module.get_submodule(place.module)
        if isinstance(module, nn.RNNBase):
            warnings.warn(
                f"{path} is what a fused {type(module).__name__} hands on: a change there reaches what reads it "
                "afterwards, not the module's own later steps, its other direction or layers, nor the state that it "
                f"returns. To change the recurrence, call an {type(module).__name__}Cell once per step and clamp that.",
                PatchclampWarning,
                stacklevel=5,
            )

    def _visits(
        self,
        record: Sequence[str],
        edits: Edits,
        frame: Callable[[Site], TokenPositions | None],
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
                unflatten_tokens(visit(path, site), partial(frame, site))
                if getattr(place, "flat", False)
                else visit(path, site),
            )
            for path, (site, place) in places.items()
        ]

    def _recording(self, stimuli: Sequence[Shown], values: Mapping[str, Any]) -> Recording:
        sites = {path: self._place(path)[0] for path in values}
        return Recording(tuple(stimuli), dict(values), sites, {"subject": self.name})
