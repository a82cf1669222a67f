"""Layer-wise relevance rules that replace the backward pass and leave the forward pass alone.

RelP (relevance patching) reads attribution patching's gradient from a backward pass in which some modules are stood in
for by simpler ones. Every rule here is written as the stand-in's ordinary computation; ``_StandIn`` gives the native
value forward, to the bit, and sends the gradient through the stand-in.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Place, Tap, Visit, Wrap
from patchclamp.subjects.families.spec import Family
from patchclamp.subjects.placement import bring_weights

Rule = Literal["ln", "identity", "half", "ah", "direct"]
RULES: tuple[Rule, ...] = get_args(Rule)
RELP: tuple[Rule, ...] = ("ln", "identity", "half")
"""The rules of the paper's own code. AH is left out there: plain gradients already do well through the softmax."""
DIRECT: tuple[Rule, ...] = ("ln", "direct")
"""What a unit writes straight to the logits: direct logit attribution."""
STABILISER = 1e-6
TOLERANCE = 1e-4
"""By how much a norm may differ from what is known of its kind, in the scale of what it gives."""
UNNAMED_EPSILON = 1e-5
"""What a norm adds to the variance where it has no attribute that says so (OLMo 1)."""


def check_rules(rules: Sequence[str]) -> tuple[Rule, ...]:
    """Return the rules, each once.

    Raises:
        PatchclampError: one has no such name.
    """
    listed = isinstance(rules, list | tuple)
    if not listed or any(rule not in RULES for rule in rules):
        raise PatchclampError(
            expected=f"a list or tuple of rules among {', '.join(RULES)}",
            got=repr(rules),
            remedy="For RelP as published: rules=('ln', 'identity', 'half').",
        )
    return tuple(rule for rule in RULES if rule in rules)


def forward_replacements(family: Family, model: nn.Module, rules: Collection[Rule]) -> dict[str, Wrap]:
    r"""Return what replaces the modules' forwards under some rules: path to a wrapper of the bare forward.

    | rule | stands in |
    |---|---|
    | ln | y = (x − mean(x)) · w / sg(σ) + b, mean(x) only where the norm subtracts it |
    | identity | z = x_s · sg(φ(x) / x_s), x_s = x + 1e-6 · sign(x), sign(0) = 1 |
    | direct | y = sg(y) at the norms (or, without them, the maps) through which sublayers read the stream |

    Norms of queries and keys keep their gradient: ``ah`` holds what they feed.

    Args:
        family: says where norms and nonlinearities lie.
        model: the network; the wrappers read its weights when they run.
        rules: those that hold.

    Returns:
        dict[str, Wrap]: by module path; empty where no rule replaces a forward.

    Raises:
        CannotIntervene: the family names a norm that is not there or computes something else, or has no stand-in for a
            rule.

    Source: 2508.21258, the table of propagation rules.
    """
    _check_derived(family, model, rules)
    wrappers: dict[str, Wrap] = {}
    entries = family.inside(model, family.entry_norms)
    if "ln" in rules:
        passed = family.inside(model, (*family.exit_norms, *family.sum_norms))
        for path in (*entries, *passed, *family.head_norms, *([last] if (last := family.final_path(model)) else ())):
            norm = _module(model, path)
            with bring_weights(norm):
                absent = any(p.is_meta for p in norm.parameters())
            if absent:
                raise CannotIntervene(
                    expected="norms whose weights are in memory, or brought there, for the rule ln",
                    got=f"{path}, whose weights are nowhere",
                    remedy="Load the model again, or use attribution patching without rules.",
                )
            check_norm(norm, family.gain, path)
            wrappers[path] = _norm(norm, family.gain)
    if "identity" in rules:
        heads = [family.head_nonlinearity] if family.head_nonlinearity else []
        wrappers |= dict.fromkeys([*family.inside(model, [family.nonlinearity]), *heads], _identity)
    if "direct" in rules:
        wrappers |= dict.fromkeys([*entries, *family.inside(model, family.readers)], _constant)
    return wrappers


def _check_derived(family: Family, model: nn.Module, rules: Collection[Rule]) -> None:
    """Refuse a rule for which a family has no stand-in."""
    for rule in RULES:
        if rule in rules and rule in family.underived:
            raise CannotIntervene(
                expected=f"rules that are derived for {type(model).__name__}",
                got=f"{rule}: {family.underived[rule]}",
                remedy="Use integrated gradients, attribution patching without rules, or exact replacement.",
            )


def _module(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError as problem:
        raise CannotIntervene(
            expected=f"a module {path!r} in {type(model).__name__}",
            got=str(problem),
            remedy="The family file does not fit this model; use attribution patching without rules, and report it.",
        ) from problem


def last_visits(family: Family, model: nn.Module, rules: Collection[Rule]) -> list[tuple[Place | Tap, Visit]]:
    r"""Return the visits of the rules that act on what flows between modules.

    half: g = u v / 2 + sg(u v / 2) in a gated MLP; u and v each pass on half of the gradient.
    ah: pattern = sg(pattern); it depends on queries and keys alone, so these are held and the attention function kept.

    They must be the last visits at their places: what is read there lies before the halving, so that its coefficient
    has the half in it.

    Returns:
        list[tuple[Place | Tap, Visit]]: where each visit is made, and what it does to the value there.

    Source: 2508.21258, the table of propagation rules.
    """
    visits: list[tuple[Place | Tap, Visit]] = []
    for i in range(len(family.layers(model))):
        places = family.sites_of(model, i)
        if "half" in rules and "mlp.up" in places:
            visits.append((Place(f"{family.blocks}.{i}.{family.nonlinearity}", "out"), _half))
            visits.append((places["mlp.up"], _half))
        if "ah" in rules:
            visits += [(places[f"attn.{slot}"], torch.detach) for slot in ("q", "k") if f"attn.{slot}" in places]
    return visits


class _StandIn(torch.autograd.Function):
    """Give ``native`` forward; send the gradient to ``stand_in``, as if that had been given."""

    @staticmethod
    def forward(ctx: Any, native: Tensor, stand_in: Tensor) -> Tensor:
        return native.view_as(native)

    @staticmethod
    def backward(ctx: Any, *gradient: Any) -> Any:
        return None, *gradient


def _visited_value(native: Tensor, stand_in: Tensor) -> Tensor:
    """Return ``native`` to the bit, whose gradient is that of ``stand_in``."""
    # The value is not recomputed from the stand-in: rounding would change the forward pass.
    shown: Tensor = _StandIn.apply(native.detach(), stand_in.to(native.dtype))
    return shown


def _half(x: Tensor) -> Tensor:
    """Return x, which passes on half of its gradient: of a product each factor then gets its share."""
    return _visited_value(x, x / 2)


def _identity(bare: Callable[..., Any]) -> Callable[..., Any]:
    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            native = bare(x)
            wide = upcast(x)
            # f(x) / x diverges at zero: the divisor is kept away from it, on the side on which x lies.
            stable = wide + STABILISER * torch.where(wide < 0, -1.0, 1.0)
            coefficient = upcast(native) / stable  # of x's shape, held fixed
        return _visited_value(native, upcast(x) * coefficient)

    return forward


def linearised_norm(norm: nn.Module, gain: Callable[[Any], Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the linear map that a norm is while its divisor stays what it is at x.

    y ↦ (y − mean(y)) · w / σ(x), without mean(y) where the norm does not subtract it, and without its bias. A norm that
    was taken out (``nn.Identity``) is y ↦ y.

    Args:
        norm: the norm.
        gain: norm to w, as its family says.
        x: ``(..., d_model)`` where the divisor is taken; no gradient flows into it.

    Returns:
        Callable[[Tensor], Tensor]: a function of y of x's shape: (y − mean(y)) · gain / σ(x).

    Source: 2508.21258, the table of propagation rules.

    Example:
        >>> norm = nn.LayerNorm(2, bias=False)
        >>> linear = linearised_norm(norm, lambda module: module.weight, torch.tensor([1.0, 3.0]))
        >>> torch.allclose(linear(torch.tensor([1.0, 3.0])), norm(torch.tensor([1.0, 3.0])), atol=1e-4)
        True
    """
    if isinstance(norm, nn.Identity):
        return upcast
    centres = subtracts_mean(norm)
    with bring_weights(norm):
        weight = 1 if getattr(norm, "weight", None) is None else upcast(gain(norm))

    def centre(y: Tensor) -> Tensor:
        return y - y.mean(-1, keepdim=True) if centres else y

    # Detached: the divisor is a constant, and the norm a linear map.
    x = centre(upcast(x.detach()))
    epsilon: float = getattr(norm, "variance_epsilon", getattr(norm, "eps", UNNAMED_EPSILON))
    coefficient = weight / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()  # (..., d_model)
    return lambda y: centre(upcast(y)) * coefficient


def subtracts_mean(norm: nn.Module) -> bool:
    """Return whether a norm takes the mean off: a layer norm, or one of transformers' own that gives 0 for a constant.

    Example:
        >>> subtracts_mean(nn.LayerNorm(2)), subtracts_mean(nn.RMSNorm(2))
        (True, False)
    """
    if isinstance(norm, nn.LayerNorm) or "LayerNorm" not in type(norm).__name__:
        return isinstance(norm, nn.LayerNorm)
    if norm not in _centring:
        # Some are called layer norms and are none: T5's takes no mean off.
        with bring_weights(norm):
            weight = getattr(norm, "weight", None)
        [width] = getattr(norm, "normalized_shape", None) or weight.shape  # type: ignore[union-attr]
        with torch.no_grad():
            flat = norm(torch.ones(width) if weight is None else torch.ones_like(weight))
        _centring[norm] = not bool(flat.abs().max() > 0.5 * (1 if weight is None else weight.abs().max()))
    return _centring[norm]


_centring = WeakKeyDictionary[nn.Module, bool]()
_known = WeakSet[nn.Module]()
"""Norms that were seen to compute what ``linearised_norm`` says; one that is put in their place is another module."""


def check_norm(norm: nn.Module, gain: Callable[[Any], Tensor], path: str) -> None:
    """Refuse a norm that ``linearised_norm`` does not describe: x less its mean, by its size, times a weight.

    Args:
        norm: the norm.
        gain: norm to its weight, as its family says.
        path: what to call it.

    Raises:
        CannotIntervene: it gives something else for a vector drawn at random.

    Cost: one vector the first time, nothing afterwards.
    """
    if norm in _known or isinstance(norm, nn.Identity):
        return
    weight = getattr(norm, "weight", None)
    shape = getattr(norm, "normalized_shape", None) or (() if weight is None else weight.shape)
    own = False
    if len(shape) == 1:
        with bring_weights(norm):
            weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
            like = torch.zeros(1) if weight is None else weight
        x = (1 + torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(like)
        with torch.no_grad():
            given = upcast(norm(x))
            expected = linearised_norm(norm, gain, x)(x) + (0 if bias is None else upcast(bias))
        most = max(TOLERANCE, 16 * torch.finfo(like.dtype).eps) * float(expected.abs().max())
        own = given.shape == expected.shape and float((given - expected).abs().max()) <= most
    if not own:
        raise CannotIntervene(
            expected="layer norms and RMS norms, for the rule ln",
            got=f"{path}, a {type(norm).__name__} that computes something else",
            remedy="Use integrated gradients, attribution patching without rules, or exact replacement.",
        )
    _known.add(norm)


def _norm(norm: nn.Module, gain: Callable[[Any], Tensor]) -> Wrap:
    def wrap(bare: Callable[..., Any]) -> Callable[..., Any]:
        def forward(hidden_states: Tensor) -> Tensor:
            with torch.no_grad():
                native = bare(hidden_states)
            return _visited_value(native, linearised_norm(norm, gain, hidden_states)(hidden_states))

        return forward

    return wrap


def _constant(bare: Callable[..., Any]) -> Callable[..., Any]:
    def forward(hidden_states: Tensor) -> Tensor:
        with torch.no_grad():
            constant: Tensor = bare(hidden_states)
        # A norm that was taken out returns what it was given.
        return constant.detach()

    return forward
