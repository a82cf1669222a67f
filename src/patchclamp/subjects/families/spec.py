"""What a family file says: where the canonical sites of one architecture lie, and a few facts about it."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.subjects.attention import SLOTS
from patchclamp.subjects.engine import Expert, Place, Tap
from patchclamp.subjects.moe import largest_shares

SPEC = __name__.rsplit(".", 1)[-1]
Covering = TypeVar("Covering", bound="Family")


def count_key_heads(config: Any) -> int:
    """Return the number of heads of keys and values that a config states: its own, or as many as of queries."""
    heads: Any = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 1)
    return int(heads)


@dataclass(frozen=True)
class Family:
    """Give meaning to the modules of one architecture.

    Args:
        name: file name, used as ``family:NAME``.
        classes: Hugging Face class names it covers.
        blocks: path of the list of blocks.
        final: path of the last norm, whose output is unembedded; empty where the model has none. ``{last}`` in it is
            the number of the last block.
        block: canonical name to place, paths counted from a block. Names: ``attn.q k v pattern z write``,
            ``resid_mid``, ``mlp.pre up act write``. ``write`` is the tensor added to the stream; ``mlp.act`` is what
            multiplies the down projection. ``mlp.shared.pre up act``: the same of an expert that every token meets.
            A place in a module that a block has not is no site of that block, if it stands in ``varying``.
        nonlinearity: path, from a block, of φ in act = φ(pre) (· up).
        entry_norms: paths, from a block, of the norms through which a sublayer reads the residual stream.
        readers: modules that read the stream where no norm stands before them.
        exit_norms: paths of the norms through which a sublayer's output passes before it is added.
        sum_norms: paths of the two norms that the stream itself passes, one after each addition (post-norm).
        gain: norm to the factor by which it multiplies the normalised values.
        parallel: attention and MLP read the same residual; there is no ``resid_mid``.
        logit_factor: config to the factor by which the unembedding's output is multiplied to give logits.
        logit_cap: config attribute that holds the logit soft-cap, or empty.
        score_cap: config attribute that holds the soft-cap of attention scores, or empty.
        scale: attention module to the factor on q · k.
        score_bias: attention module and number of positions to what is added to the scaled scores, by head, position
            and source; None where nothing is.
        key_heads: config to the number of heads of keys and values.
        window: attention module to how many positions it looks back, or None.
        chunk: attention module to the length of the chunks beyond which it does not look back, or None.
        sinks: attention module to a score per head that every query meets beside those of the positions, or None; the
            pattern's rows then sum to less than 1.
        shares: router and its logits to the share of each expert in each token, 0 where the token does not come by.
        shared_gate: path, from a block, of what the shared expert's output is multiplied by after a sigmoid.
        causal: no position sees a later one.
        attention_method: attention method to wrap in versions of transformers in which the module has it; in others
            it uses the attention interface.
        written_out: attention modules call no attention function: their own forward multiplies and normalises.
        positions: the model takes ``position_ids``.
        pads_left: a row padded on the left is the row alone; where it is not, prompts are continued one by one.
        first_position: config to the position id of the first token.
        head: paths of a head that does more than unembed: one after the other they turn the last block's output into
            logits.
        head_norms: paths of norms within it, besides the last.
        head_nonlinearity: path of the φ within it.
        varying: sites that some blocks lack.
        widths: site to its width by the config, where that is neither the stream's, the heads' nor the MLP's.
        misfit: config to how the model is built otherwise than this file says, or empty; the class does not say it.
        towers: kinds (``model_type``) of text towers inside other models that are built the same way and for which
            transformers has no language model of their own.
        excluded: number of a part of the contract that does not apply, to the reason.
        underived: relevance rule that has no stand-in here, to the reason.
        unseen: what of the network lies at no site, to the reason.
        tiny: makes a small random model with weights large enough that every nonlinearity bites.
    """

    name: str
    classes: tuple[str, ...]
    blocks: str
    final: str
    block: Mapping[str, Place | Tap]
    nonlinearity: str
    entry_norms: tuple[str, ...]
    tiny: Callable[[], Any]
    readers: tuple[str, ...] = ()
    exit_norms: tuple[str, ...] = ()
    sum_norms: tuple[str, ...] = ()
    gain: Callable[[Any], Tensor] = lambda norm: norm.weight
    parallel: bool = False
    logit_factor: Callable[[Any], float] = lambda config: 1.0
    logit_cap: str = ""
    score_cap: str = ""
    scale: Callable[[Any], float] = lambda module: module.scaling
    score_bias: Callable[[Any, int], Tensor | None] = lambda module, n: None
    key_heads: Callable[[Any], int] = count_key_heads
    window: Callable[[Any], int | None] = lambda module: getattr(module, "sliding_window", None)
    chunk: Callable[[Any], int | None] = lambda module: None
    sinks: Callable[[Any], Tensor | None] = lambda module: getattr(module, "sinks", None)
    shares: Callable[[Any, Tensor], Tensor] = largest_shares
    shared_gate: str = ""
    causal: bool = True
    attention_method: str | None = None
    written_out: bool = False
    positions: bool = True
    pads_left: bool = True
    first_position: Callable[[Any], int] = lambda config: 0
    head: tuple[str, ...] = ()
    head_norms: tuple[str, ...] = ()
    head_nonlinearity: str = ""
    varying: frozenset[str] = frozenset()
    widths: Mapping[str, Callable[[Any], int]] = field(default_factory=dict)
    misfit: Callable[[Any], str] = lambda config: ""
    towers: tuple[str, ...] = ()
    excluded: Mapping[int, str] = field(default_factory=dict)
    underived: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)

    def why_edgeless(self, model: nn.Module) -> str:
        """Return why a model's stream is not the sum of what heads and MLPs write, or empty."""
        if self.sum_norms:
            return "whose stream is normalised after each addition: what was written before does not stay as it was"
        for layer in range(len(self.layers(model))):
            if not {"attn.q", "attn.z", "mlp.write"} <= self.sites_of(model, layer).keys():
                return f"whose block {layer} is not attention and an MLP"
        gated = "attn.gate" in self.block
        return (
            "whose heads pass an output gate, which reads the stream beside queries, keys and values" if gated else ""
        )

    def lacking(self, model: nn.Module) -> dict[str, str]:
        """Return what cannot be had of a model of this family, each with the reason."""
        edgeless = self.why_edgeless(model).removeprefix("whose ")
        unattended = "" if "attn.pattern" in self.block else "no block has attention"
        found = {"attention": unattended, "edges": edgeless}
        return {
            **{what: why for what, why in found.items() if why},
            **{f"rule {rule}": why for rule, why in self.underived.items()},
            **self.unseen,
        }

    def inside_of(self, model: Any, prefix: str, path: str) -> "Family":
        """Return the family as it lies in another model around the same network of blocks.

        Args:
            model: a model of images and text, a classifier, or the bare network.
            prefix: of the network's paths in a language model.
            path: of the network in ``model``.

        Returns:
            Family: with the paths of ``model``, and without what stands behind the blocks of a language model.
        """

        def move(old: str) -> str:
            return f"{path}.{old.removeprefix(prefix)}".removeprefix(".") if old.startswith(prefix) else ""

        # What scales or caps logits belongs to the language model's class, not to its blocks.
        moved = replace(
            self,
            blocks=move(self.blocks),
            final=move(self.final),
            head=(),
            head_norms=tuple(moved for norm in self.head_norms if (moved := move(norm))),
            head_nonlinearity="",
            logit_cap="",
            logit_factor=lambda config: 1.0,
        )
        if not self.head:
            return moved
        why = "the head behind its blocks has a nonlinearity that no family describes"
        return replace(moved, underived={**self.underived, **dict.fromkeys(("identity", "direct"), why)})

    def layers(self, model: nn.Module) -> list[nn.Module]:
        """Return the blocks in order."""
        return list(model.get_submodule(self.blocks))  # type: ignore[call-overload]

    def places(self, model: Any) -> dict[str, tuple[Site, Place | Tap]]:
        """Return every canonical site of a model with its place, in forward order."""
        config = model.config.get_text_config()
        d_model, heads = config.hidden_size, getattr(config, "num_attention_heads", 1)
        kv_heads = self.key_heads(config)
        d_head = getattr(config, "head_dim", None) or d_model // heads
        d_mlp = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * d_model
        blocked = {
            "attn.q": (heads * d_head, heads),
            "attn.k": (kv_heads * d_head, kv_heads),
            "attn.v": (kv_heads * d_head, kv_heads),
            "attn.pattern": (0, heads),
            **dict.fromkeys(("attn.gate", "attn.z"), (heads * d_head, heads)),
            **dict.fromkeys(("mlp.pre", "mlp.up", "mlp.act"), (d_mlp, 0)),
        }
        blocked |= {kind: (width(config), blocked.get(kind, (0, 0))[1]) for kind, width in self.widths.items()}
        by_name: dict[str, tuple[Site, Place | Tap]] = {}

        def add(path: str, kind: str, layer: int | None, place: Place | Tap, like: str = "") -> None:
            width, n_heads = blocked.get(like or kind, (d_model, 0))
            tapped, ragged = isinstance(place, Tap), isinstance(place, Expert)
            writable = isinstance(place, Tap) or place.writable
            by_name[path] = (Site(path, kind, width, _axes(kind), n_heads, layer, writable, tapped, ragged), place)

        embeddings = module_path(model, model.get_input_embeddings())
        add("embed", "embed", None, Place(embeddings, "out"))
        for i in range(len(self.layers(model))):
            for kind, place in self.sites_of(model, i).items():
                if isinstance(place, Expert):
                    for e in range(int(model.get_submodule(place.module).num_experts)):
                        each = kind.format(e=e)
                        add(f"blocks.{i}.{each}", each, i, replace(place, number=e), kind)
                else:
                    add(f"blocks.{i}.{kind}", kind, i, place)
        if self.final:
            add("final", "final", None, Place(self.final_path(model), "out"))
        return by_name

    def sites_of(self, model: nn.Module, layer: int) -> dict[str, Place | Tap]:
        """Return the sites that one block has, in forward order, each with its place from the root."""
        whole = {"resid_in": Place("", "in"), **self.block, "resid_out": Place("", "out")}
        block, prefix = self.layers(model)[layer], f"{self.blocks}.{layer}"
        config = model.config.get_text_config()  # type: ignore[operator, union-attr]
        return {
            kind: place.under(prefix).fit(config)
            for kind, place in whole.items()
            if kind not in self.varying or _has(block, place.module)
        }

    def wrapped_method(self, model: nn.Module) -> str | None:
        """Return the attention method to wrap in this model; None where it uses the attention interface."""
        taps = [place for place in self.sites_of(model, 0).values() if isinstance(place, Tap)]
        has = self.attention_method is not None and hasattr(model.get_submodule(taps[0].module), self.attention_method)
        return self.attention_method if has else None

    def attention_written_out(self, model: nn.Module) -> list[nn.Module]:
        """Return the attention modules whose forwards write attention out."""
        if not self.written_out:
            return []
        places = (self.sites_of(model, i).get("attn.q") for i in range(len(self.layers(model))))
        return [model.get_submodule(place.module) for place in places if place is not None]

    def final_path(self, model: nn.Module) -> str:
        """Return the path of the last norm of a model; empty where it has none."""
        return self.final.format(last=len(self.layers(model)) - 1)

    def mlp_norm(self, block: nn.Module) -> str:
        """Return the path, from a block, of the norm through which its MLP reads the stream."""
        return [path for path in self.entry_norms if _has(block, path)][-1]

    def inside(self, model: nn.Module, paths: Iterable[str]) -> list[str]:
        """Return paths from the root of modules named from a block, in every block that has them.

        A block may lack one only where some sites vary.
        """
        return [
            f"{self.blocks}.{i}.{path}"
            for i, block in enumerate(self.layers(model))
            for path in paths
            if not self.varying or _has(block, path)
        ]

    def cap_logits(self, model: Any, logits: Tensor) -> Tensor:
        """Return logits as the model answers: scaled, and after the soft-cap c · tanh(z / c), where it has these."""
        logits = self.scale_logits(model, logits)
        cap = getattr(model.config.get_text_config(), self.logit_cap, None) if self.logit_cap else None
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def scale_logits(self, model: Any, logits: Tensor) -> Tensor:
        """Return logits times the family's factor."""
        factor = self.logit_factor(model.config.get_text_config())
        return logits if factor == 1 else logits * factor


def attention_sites(module: str, projection: str) -> dict[str, Place | Tap]:
    """Return the sites inside and behind an attention module: q, k, v, pattern, z and what it writes."""
    taps: dict[str, Place | Tap] = {f"attn.{slot}": Tap(module, slot) for slot in SLOTS}
    return {**taps, "attn.z": Place(f"{module}.{projection}", "in"), "attn.write": Place(module, "out")}


def mlp_sites(module: str, *, pre: str, act: str, up: str = "") -> dict[str, Place | Tap]:
    """Return the sites of an MLP: pre-activation, the gated MLP's other branch, neurons, and what it writes.

    Returns:
        dict[str, Place | Tap]: by name, ``mlp.pre``, ``mlp.up``, ``mlp.act`` and ``mlp.write``; without ``up`` where
            the MLP has no gate.
    """
    gated: dict[str, Place | Tap] = {"mlp.up": Place(f"{module}.{up}", "out")} if up else {}
    pre_site, act_site = Place(f"{module}.{pre}", "out"), Place(f"{module}.{act}", "in")
    return {"mlp.pre": pre_site, **gated, "mlp.act": act_site, "mlp.write": Place(module, "out")}


def expert_sites(router: str, experts: str) -> dict[str, Place | Tap]:
    """Return the sites of a mixture of experts: what its router says of each, and each one's neurons."""
    return {
        # Shares and choice are made of these logits within the router; nothing after it reads them.
        "mlp.router": Place(router, "out", flat=True, writable=False),
        "mlp.experts.{e}.act": Expert(experts),
    }


def shared_sites(module: str, *, flat: bool = False) -> dict[str, Place | Tap]:
    """Return the sites of the gated MLP that stands beside a mixture and that every token meets."""
    return {
        "mlp.shared.pre": Place(f"{module}.gate_proj", "out", flat=flat),
        "mlp.shared.up": Place(f"{module}.up_proj", "out", flat=flat),
        "mlp.shared.act": Place(f"{module}.down_proj", "in", flat=flat),
    }


EXPERT_WIDTHS: Mapping[str, Callable[[Any], int]] = {
    "mlp.router": lambda config: getattr(config, "num_local_experts", None) or config.num_experts,
    "mlp.experts.{e}.act": lambda config: getattr(config, "moe_intermediate_size", None) or config.intermediate_size,
}
"""Widths of the sites of a mixture, by its config."""
UNDERIVED_EXPERTS = dict.fromkeys(
    ("identity", "half"), "the product of an expert's output with its share, and the choice of experts, have no rule"
)
"""Why two relevance rules have no stand-in in a mixture."""


def _axes(kind: str) -> tuple[str, ...]:
    if kind == "attn.pattern":
        return ("stimulus", "position", "head", "source")
    return ("stimulus", "position", "expert" if kind == "mlp.router" else "unit")


def _has(block: nn.Module, path: str) -> bool:
    return not path or any(name == path for name, _ in block.named_modules())


def module_path(root: nn.Module, module: nn.Module) -> str:
    """Return a module's dotted path from the root."""
    return next(path for path, candidate in root.named_modules() if candidate is module)


@cache
def family_names() -> tuple[str, ...]:
    """List the families: the files of this folder."""
    package = __name__.rsplit(".", 1)[0]
    folder = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(folder) if m.name != SPEC and not m.ispkg))


def family(name: str) -> Family:
    """Return a family by name.

    Raises:
        PatchclampError: no such file.
    """
    if name not in family_names():
        raise PatchclampError(
            expected=f"a family among {', '.join(family_names())}",
            got=repr(name),
            remedy="Other architectures work through module sites; docs/howto/family.md says how to add a family.",
        )
    one: Family = importlib.import_module(f"{__name__.rsplit('.', 1)[0]}.{name}").FAMILY
    return one


def families() -> Iterator[Family]:
    """Yield every family."""
    return (family(name) for name in family_names())


def family_of(model: Any) -> Family | None:
    """Return the family that covers a model's class and config, or the tower within it that reads text, or None."""
    return find_covering(model, families()) or _family_of_tower(model)


def _family_of_tower(model: Any) -> Family | None:
    """Return the family of the network of blocks inside a model of images and text, a classifier or a bare model.

    A language model is such a network, its base, with a head; where the base is the same its sites are the same.
    Classes that others than transformers wrote are left out: what they do around the base is unknown.
    """
    if type(model).__module__.partition(".")[0] != "transformers":
        return None
    base = getattr(model, "base_model", None)
    tower = getattr(base, "language_model", base)
    config = getattr(tower, "config", None)
    path = next((path for path, module in model.named_modules() if module is tower), None)
    if config is None or path is None or getattr(config, "is_encoder_decoder", False):
        return None
    from transformers.models.auto import modeling_auto

    kind, prefix = str(config.model_type), f"{getattr(tower, 'base_model_prefix', '')}."
    tables = (modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    heads = [table[kind] for table in tables if kind in table]
    bases = modeling_auto.MODEL_MAPPING_NAMES.get(kind, ())
    alone = type(tower).__name__ in ([bases] if isinstance(bases, str) else bases)
    for one in families():
        same = (alone and any(head in one.classes for head in heads)) or kind in one.towers
        if same and one.blocks.startswith(prefix) and not one.misfit(config):
            return one.inside_of(model, prefix, path)
    return None


def find_covering(model: Any, listed: Iterable[Covering]) -> Covering | None:
    """Return the first family that is true of a model, or None."""
    return next((f for f in listed if type(model).__name__ in f.classes and not f.misfit(model.config)), None)


def reason_uncovered(model: Any, listed: Iterable[Family]) -> str:
    """Return why no family covers a model, in words: its class, or how this model of the class is built."""
    name, config = type(model).__name__, getattr(model, "config", None)
    built = [why for f in listed if name in f.classes and config is not None and (why := f.misfit(config))]
    return f"no family file covers {name}" + (f" where {' and '.join(built)}" if built else "")


def enlarge(model: Any, *, seed: int = 0, weight: float = 0.6) -> Any:
    """Redraw a tiny model's parameters so large that no nonlinearity is nearly linear.

    At default initialisation a missing logit soft-cap changes logits by 1e-5 only, and a wrong mapping hides.

    Returns:
        Any: the same model, changed in place.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            gain = parameter.ndim == 1 and "bias" not in name
            parameter.copy_(1 + 0.3 * noise if gain else weight * noise)
    return model.eval()
