"""Visit a network's activations while it runs, and leave it exactly as it was.

This is the only file that mutates a model. Everything it does (hooks, the attention tap, replaced forwards, frozen
parameters) is undone when the context ends, by return, exception or Ctrl-C alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock, RLock
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.subjects import attention, moe

Visit = Callable[[Tensor], Tensor]
"""Called with a site's values; returns the same object to leave them, another tensor to replace them."""
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Turns a module's forward into the one that runs in its stead."""


@dataclass(frozen=True)
class Place:
    """Say where a site's tensor passes: the input or the output of one module.

    Args:
        module: dotted path from the root.
        side: ``in`` for the first tensor argument, ``out`` for the (first) output.
        shared: the caller keeps another reference to this tensor (a residual branch), so a change must be made in the
            tensor itself to reach both.
        flat: the tensor has the tokens of all rows on one axis, ``(batch · position, width)``.
        writable: the network goes on with this tensor, so that a change to it has an effect.
    """

    module: str
    side: Literal["in", "out"]
    shared: bool = False
    flat: bool = False
    writable: bool = True

    def take(self, raw: Tensor) -> Tensor:
        """Turn the module's tensor into the site's layout."""
        return raw

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Turn values in the site's layout back into the module's."""
        return new

    def under(self, prefix: str) -> "Place":
        """Return the same place, its module counted from ``prefix``."""
        return replace(self, module=f"{prefix}.{self.module}" if self.module else prefix)

    def fit(self, config: Any) -> "Place":
        """Return the place with the numbers that it takes from a model's config."""
        return self


@dataclass(frozen=True)
class PositionsFirst(Place):
    """Say that the module's tensor has positions before stimuli, as ``nn.LSTM`` has where nothing else is said."""

    def take(self, raw: Tensor) -> Tensor:
        """Put stimuli first."""
        return raw.transpose(0, 1)

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Put positions first again."""
        return new.transpose(0, 1)


@dataclass(frozen=True)
class Chunk(Place):
    """Say that a site is one of several equal parts of a tensor, as a fused projection gives them.

    Args:
        index: which part.
        of: number of parts.
    """

    index: int = 0
    of: int = 2

    def take(self, raw: Tensor) -> Tensor:
        """Return the part."""
        return raw.chunk(self.of, dim=-1)[self.index]

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Return the tensor with the part replaced."""
        parts = list(raw.chunk(self.of, dim=-1))
        parts[self.index] = new
        return torch.cat(parts, dim=-1)


@dataclass(frozen=True)
class Slice(Place):
    """Say that a site is a run of the numbers of a tensor, as a projection fused of unequal parts gives them.

    Args:
        bounds: config to the first number and the one after the last.
        first: the first; the config's unless given.
        stop: the one after the last.
    """

    bounds: Callable[[Any], tuple[int, int]] = lambda config: (0, 0)
    first: int = 0
    stop: int = 0

    def take(self, raw: Tensor) -> Tensor:
        """Return the part."""
        return raw[..., self.first : self.stop]

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Return the tensor with the part replaced."""
        return torch.cat([raw[..., : self.first], new, raw[..., self.stop :]], dim=-1)

    def fit(self, config: Any) -> "Slice":
        """Return the place with the config's bounds."""
        first, stop = self.bounds(config)
        return replace(self, first=first, stop=stop)


@dataclass(frozen=True)
class Overwritten(Place):
    """Say that the network adds to this tensor in place afterwards: what is kept of it is a copy."""

    def take(self, raw: Tensor) -> Tensor:
        """Return a copy."""
        return raw.clone()

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Return a copy."""
        return new.clone()


@dataclass(frozen=True)
class HeadChunk(Chunk):
    """Say that a site is one of several equal parts of what a fused projection gives for each head.

    Args:
        heads: number of heads; the config's unless given.
    """

    heads: int = 1

    def take(self, raw: Tensor) -> Tensor:
        """Return the part of every head, the heads side by side."""
        return raw.unflatten(-1, (self.heads, self.of, -1))[..., self.index, :].flatten(-2)

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Return the tensor with the part of every head replaced."""
        parts = list(raw.unflatten(-1, (self.heads, self.of, -1)).unbind(-2))
        parts[self.index] = new.unflatten(-1, (self.heads, -1))
        return torch.stack(parts, -2).flatten(-3)

    def fit(self, config: Any) -> "HeadChunk":
        """Return the place with the config's number of heads."""
        return replace(self, heads=config.num_attention_heads)


@dataclass(frozen=True)
class Scaled(Place):
    """Say that a site is what a module gives, times a number of the config.

    Args:
        by: attribute of the config that holds the number.
        factor: the number; the config's unless given.
    """

    by: str = ""
    factor: float = 1.0

    def take(self, raw: Tensor) -> Tensor:
        """Return the product."""
        return raw * self.factor

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Return what the module must give for the product to be ``new``."""
        # What the division rounds away is put back, so that a product handed back unchanged is ``raw`` to the bit.
        before = raw.detach()
        return new / self.factor + (before - before * self.factor / self.factor)

    def fit(self, config: Any) -> "Scaled":
        """Return the place with the config's number."""
        return replace(self, factor=float(getattr(config, self.by)))


@dataclass(frozen=True)
class Expert(Place):
    """Say which expert's neurons a site is; rows of tokens that are routed elsewhere are NaN.

    Args:
        module: path of the module that holds all experts.
        number: which of them.
    """

    side: Literal["in", "out"] = "in"
    flat: bool = True
    number: int = 0


@dataclass(frozen=True)
class Tap:
    """Say which tensor inside a module's attention function a site is: ``q``, ``k``, ``v`` or ``pattern``.

    q, k, v travel as ``(batch, head, position, d_head)`` and are shown as ``(batch, position, head · d_head)``; the
    pattern travels as ``(batch, head, position, source)`` and is shown as ``(batch, position, head · source)``.
    """

    module: str
    slot: attention.Slot

    def take(self, raw: Tensor) -> Tensor:
        """Turn the attention function's tensor into the site's layout."""
        return raw.transpose(1, 2).flatten(2)

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Turn values in the site's layout back, with the strides that the arithmetic after it expects."""
        back = new.unflatten(2, (raw.shape[1], raw.shape[3])).transpose(1, 2)
        return back.contiguous() if raw.is_contiguous() else back

    def under(self, prefix: str) -> "Tap":
        """Return the same tap, its module counted from ``prefix``."""
        return type(self)(f"{prefix}.{self.module}", self.slot)

    def fit(self, config: Any) -> "Tap":
        """Return the tap: it takes nothing from a model's config."""
        return self


@dataclass(frozen=True, eq=False)
class Restart:
    """Start the forward pass at a block, from a residual stream that is given.

    Args:
        layer: the first block that runs.
        residual: ``(batch, position, d_model)`` input of that block.
    """

    layer: int
    residual: Tensor


_locking, _locks = Lock(), WeakKeyDictionary[nn.Module, Any]()
_visiting: WeakSet[nn.Module] = WeakSet()
"""Networks of which a visit is running; whoever asks holds the network's lock."""


class _Stop(Exception):
    """Ends a forward pass whose last wanted site has been seen."""


class Engine:
    """Attach visits to a network for the length of a context.

    Args:
        root: the network.
        blocks: its blocks in order, for restarts.
        attention_method: name of the attention method to wrap where the family does not use transformers' attention
            interface; None where it does.
        written_out: the attention modules, where their own forwards write attention out.
    """

    def __init__(
        self,
        root: nn.Module,
        *,
        blocks: Sequence[nn.Module] = (),
        attention_method: str | None = None,
        written_out: Sequence[nn.Module] = (),
    ) -> None:
        self.root = root
        self.blocks = blocks
        self.attention_method = attention_method
        self.written_out = written_out
        self._tuple: bool | None = None

    @contextmanager
    def attach_visits(
        self,
        visits: Sequence[tuple[Place | Tap, Visit]],
        *,
        prepare: Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]] | None = None,
        restart: Restart | None = None,
        tap: bool = False,
        native: bool = False,
        freeze: bool = False,
        stand_ins: Mapping[str, Wrap] = MappingProxyType({}),
        evaluate: bool = True,
    ) -> Iterator[None]:
        """Attach visits; leaving the context restores hooks, forwards, attention and parameters.

        One thread at a time is in such a context of one network; others wait.

        Args:
            visits: where and what; several at one place run in order.
            prepare: called with the root's arguments before each forward; returns those to use.
            restart: skip the blocks before a layer.
            tap: route attention through the tap even where no visit needs it.
            native: where attention is tapped, keep the model's own function (sdpa) instead of its eager one; patterns
                cannot be visited then.
            freeze: let no parameter ask for a gradient meanwhile.
            stand_ins: module paths whose forward is wrapped; visits see what the wrapped forward takes and gives.
            evaluate: run modules that are in training mode as ``eval()`` would.

        Yields:
            None: nothing; afterwards the module is as it was, to the bit.

        Raises:
            CannotIntervene: a place's module does not exist.
            PatchclampError: asked for by a visit of the same network, which is in the middle of its forward.
        """
        with ExitStack() as undo:
            # Two threads on one network would see each other's hooks, and put forwards back in the wrong order.
            undo.enter_context(_lock_of(self.root))
            if self.root in _visiting:
                raise _within_visit(self.root)
            if visits:
                undo.enter_context(keep_modules_called(self.root))
            if evaluate:
                undo.enter_context(evaluation_mode(self.root))
            visits = [(place, _alone(self.root, visit)) for place, visit in visits]
            if prepare is not None:

                def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
                    return prepare(args, kwargs)

                undo.callback(self.root.register_forward_pre_hook(before, with_kwargs=True, prepend=True).remove)
            if freeze:
                asking = [p for p in self.root.parameters() if p.requires_grad]
                undo.callback(lambda: [p.requires_grad_(True) for p in asking])
                for parameter in asking:
                    parameter.requires_grad_(False)
            if restart is not None:
                self._restart(restart, undo)
            for path, wrap in stand_ins.items():
                module = self._module(path)
                _replace(module, "forward", wrap(module.forward), undo)
            taps: dict[nn.Module, dict[attention.Slot, list[tuple[Tap, Visit]]]] = {}
            routed: dict[nn.Module, list[tuple[int, Visit]]] = {}
            for place, visit in visits:
                module = self._module(place.module)
                if isinstance(place, Tap):
                    taps.setdefault(module, {}).setdefault(place.slot, []).append((place, visit))
                elif isinstance(place, Expert):
                    routed.setdefault(module, []).append((place.number, visit))
                else:
                    undo.callback(_hook(module, place, visit).remove)
            for module, each in routed.items():
                gate, note = moe.tap_experts(module, each)
                undo.callback(module.register_forward_pre_hook(note).remove)
                _replace(module, moe.METHOD, gate, undo)
            if taps or tap:
                undo.enter_context(self._tap_modules(taps, native))
            yield

    def _module(self, path: str) -> nn.Module:
        try:
            return self.root.get_submodule(path)
        except AttributeError as problem:
            raise CannotIntervene(
                expected=f"a module {path!r} in {type(self.root).__name__}",
                got=str(problem),
                remedy="The family file does not fit this model; use module sites, and report the model.",
            ) from problem

    def _restart(self, restart: Restart, undo: ExitStack) -> None:
        """Make the earlier blocks pass their input on, and give the first live block its residual."""
        bare = self.blocks[0].forward

        def identity(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._tuple is None:
                # Whether a block returns a tuple depends on the version of transformers: one of them is asked, once.
                with torch.no_grad():
                    self._tuple = isinstance(bare(hidden_states, *args, **kwargs), tuple)
            return (hidden_states, None) if self._tuple else hidden_states

        for block in self.blocks[: restart.layer]:
            _replace(block, "forward", identity, undo)
        # What comes out of a sum over readers or writers has other strides, and some modules take views.
        residual = restart.residual.contiguous()
        inject = _hook(self.blocks[restart.layer], Place("", "in"), lambda _x: residual)
        undo.callback(inject.remove)

    @contextmanager
    def _tap_modules(
        self, taps: Mapping[nn.Module, Mapping[attention.Slot, list[tuple[Tap, Visit]]]], native: bool
    ) -> Iterator[None]:
        visits = {module: {slot: _chain(chain) for slot, chain in slots.items()} for module, slots in taps.items()}
        with ExitStack() as undo:
            for module in self.written_out:
                heads: Any = module.num_heads
                seen = partial(attention.WrittenOut, visits.get(module, {}), heads, native)
                _replace(module, "forward", _within(seen, module.forward), undo)
            if self.attention_method is None and not self.written_out:
                undo.enter_context(attention.tap_attention(self.root, visits, native=native))
            elif self.attention_method is not None:
                for module, slots in visits.items():
                    bare = getattr(module, self.attention_method)
                    _replace(module, self.attention_method, attention.tapped_method(bare, slots), undo)
            yield


def _within(context: Callable[[], Any], bare: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs in a new context each time."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with context():
            return bare(*args, **kwargs)

    return run


@contextmanager
def keep_modules_called(root: nn.Module) -> Iterator[None]:
    """Keep torch's fused inference path for transformer layers off: it calls no modules, which hooks would miss."""
    fused = any(isinstance(m, nn.TransformerEncoder | nn.TransformerEncoderLayer) for m in root.modules())
    before = torch.backends.mha.get_fastpath_enabled()
    if fused:
        torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        if fused:
            torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def evaluation_mode(root: nn.Module) -> Iterator[None]:
    """Put modules that are in training mode into evaluation mode: dropout would make results random, and batch norms
    would take what they are shown into their statistics.
    """
    training = [module for module in root.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _alone(root: nn.Module, visit: Visit) -> Visit:
    """Return a visit that refuses to be entered again by itself: a function of the user's may show the network more."""

    def run(x: Tensor) -> Tensor:
        if root in _visiting:
            raise _within_visit(root)
        _visiting.add(root)
        try:
            return visit(x)
        finally:
            _visiting.discard(root)

    return run


def _within_visit(root: nn.Module) -> PatchclampError:
    return PatchclampError(
        expected="a network that is not in the middle of a forward pass",
        got=f"{type(root).__name__}, run again by a function that its own pass has called",
        remedy="Run it before, and let the function use what came out; or load it twice.",
    )


def _lock_of(root: nn.Module) -> Any:
    """Return the one lock of a network, whichever engine asks; a thread that holds it may take it again."""
    with _locking:
        return _locks.setdefault(root, RLock())


@contextmanager
def stop_once_called(paths: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Give a callable that ends the forward pass once it was called with every path; the context absorbs the end.

    With no paths the forward runs to its own end.
    """
    pending = set(paths)

    def note_call(path: str) -> None:
        pending.discard(path)
        if not pending:
            raise _Stop

    with suppress(_Stop):
        yield note_call if pending else (lambda _path: None)


def _chain(visits: list[tuple[Tap, Visit]]) -> Visit:
    def run(raw: Tensor) -> Tensor:
        for tap, visit in visits:
            raw = _apply(tap, visit, raw)
        return raw

    return run


def _apply(place: Place | Tap, visit: Visit, raw: Tensor) -> Tensor:
    taken = place.take(raw)
    new = visit(taken)
    # A reshaped copy is off the path from input to output: under autograd it must be put on it to have a gradient.
    if new is taken and (taken is raw or not torch.is_grad_enabled()):
        return raw
    return place.give(new, raw)


def _hook(module: nn.Module, place: Place, visit: Visit) -> Any:
    if place.side == "out":

        def after(_module: nn.Module, _args: Any, output: Any) -> Any:
            raw = _first_tensor(output, place)
            new = _apply(place, visit, raw)
            return None if new is raw else _with_first(output, new)

        return module.register_forward_hook(after)

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        positional = bool(args) and isinstance(args[0], Tensor)
        name = None if positional else next((k for k, v in kwargs.items() if isinstance(v, Tensor)), None)
        raw = args[0] if positional else _first_tensor(None if name is None else kwargs[name], place)
        new = _apply(place, visit, raw)
        if new is raw:
            return None
        if place.shared:
            # Every reference to this tensor, the residual branch's too, must see the change.
            raw.copy_(new)
            return None
        # Attention takes one tensor as query, key and value: the module's input is all three.
        return tuple(new if x is raw else x for x in args), {k: new if x is raw else x for k, x in kwargs.items()}

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _first_tensor(output: Any, place: Place) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    raise PatchclampError(
        expected=f"a tensor, or a tuple that begins with one, at module.{place.module}.{place.side}",
        got=type(output).__name__,
        remedy="Choose a module inside it, or one that encloses it.",
    )


def _with_first(output: Any, new: Tensor) -> Any:
    if isinstance(output, Tensor):
        return new
    return (new, *output[1:]) if isinstance(output, tuple) else [new, *output[1:]]


def _replace(module: nn.Module, name: str, new: Any, undo: ExitStack) -> None:
    """Set an attribute on the instance only, and remember what was there: another library may have put it there."""
    had = name in module.__dict__
    old = module.__dict__.get(name)
    undo.callback(lambda: setattr(module, name, old) if had else module.__dict__.pop(name, None))
    module.__dict__[name] = new
