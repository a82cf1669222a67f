"""Sites of a model under the names that TransformerLens (and so SAELens) and sparsify give to places in a network.

sparsify and Gemma Scope 2 name modules of the Hugging Face implementation: ``layers.3.mlp`` is that module's output,
before whatever norm follows it. TransformerLens names hooks of its own implementation (``transformer_block.py`` and
``bert_block.py`` of its components), and where a hook lies beside a norm depends on the architecture:

| architecture | ``hook_attn_out``, ``hook_mlp_out`` | ``hook_resid_mid``, ``hook_resid_post`` |
|---|---|---|
| norms before the sublayers | what the module returns, which is what is added | the stream |
| norms before and after (Gemma 2, Gemma 3) | after the norm: what is added | the stream |
| norms after only (OLMo 2) | before the norm: what the module returns | the stream |
| norms of the stream itself (BERT) | what is added | the stream before its norm, which no site here is |
| parallel | what is added | no ``hook_resid_mid``; ``hook_mlp_in`` is the block's input |
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.engine import Chunk, Expert, Place, Scaled, Tap
from patchclamp.subjects.families.spec import Family
from patchclamp.subjects.relevance_rules import subtracts_mean

HOOKS = "hooks"
"""Entry of ``Dictionary.about``: site to the hook of TransformerLens that it was read from, until a model is known."""
LENS: Mapping[str, str] = {
    "hook_resid_pre": "resid_in",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_out",
    "hook_attn_out": "attn.write",
    "hook_mlp_out": "mlp.write",
    "attn.hook_z": "attn.z",
    "mlp.hook_pre": "mlp.pre",
    "mlp.hook_pre_linear": "mlp.up",
    "mlp.hook_post": "mlp.act",
    "hook_mlp_in": "resid_mid",
}
"""Hook of TransformerLens to the site in a network with norms before its sublayers."""
CONDITIONS = "conditions"
"""Entry of ``Dictionary.about``: what its input was while it was trained, as far as it is known."""
MODULE = "module."
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_NAMED = re.compile(r"(?:.*\.)?(?:layers?|h|blocks)\.(\d+)((?:\.\w+)*)")


def site_of_hook(model: Any, hook: str) -> str:
    """Return the site of a model that a hook of TransformerLens names.

    Args:
        model: a language model that a family covers.
        hook: such as ``blocks.3.hook_mlp_out``.

    Raises:
        PatchclampError: the model has no site there.

    Example:
        >>> from patchclamp.subjects.families.spec import family
        >>> from patchclamp.subjects.language import LanguageModel
        >>> [site_of_hook(LanguageModel(family(f).tiny()), "blocks.1.hook_mlp_out") for f in ("gemma2", "olmo2")]
        ['blocks.1.mlp.write', 'module.model.layers.1.mlp.out']
    """
    match, family = _BLOCK.fullmatch(hook), _family(model)
    kind = None if match is None else LENS.get(match[2])
    if match is None or kind is None or family is None:
        return str(model.site(hook).path)
    layer, named = int(match[1]), match[2]
    if named == "hook_mlp_in" and family.parallel:
        kind = "resid_in"
    if family.sum_norms and kind in ("resid_mid", "resid_out"):
        raise PatchclampError(
            expected=f"a hook of TransformerLens that is a site of {model.name}",
            got=f"{hook}, the stream before the norm that it passes there",
            remedy="Name the site that you mean with --sites.",
        )
    if kind in ("attn.write", "mlp.write") and _norms_after_only(family):
        return str(site_of_module(model, f"{family.blocks}.{layer}.{_sublayer(family, kind)}"))
    return str(model.site(f"blocks.{layer}.{kind}").path)


def site_of_module(model: Any, name: str, side: str = "out") -> str:
    """Return the site at a module's output or input: the canonical one where there is one.

    Args:
        model: the subject.
        name: a module's path, from the root or from the base model; the list of blocks may be called ``layers``, ``h``
            or ``blocks``.
        side: ``out`` or ``in``.

    Returns:
        str: its path.

    Raises:
        PatchclampError: no such module, or several.

    Example:
        >>> from patchclamp.subjects.families.spec import family
        >>> from patchclamp.subjects.language import LanguageModel
        >>> [site_of_module(LanguageModel(family(f).tiny()), "layers.1.mlp") for f in ("llama", "gemma2")]
        ['blocks.1.mlp.write', 'module.model.layers.1.mlp.out']
    """
    family, path = _family(model), _module(model, name)
    if family is None:
        return str(model.site(f"{MODULE}{path}.{side}").path)
    for site, place in _whole_places(model):
        if (place.module, place.side) == (path, side):
            return site
    layer = path.removeprefix(f"{family.blocks}.").partition(".")[0]
    if side == "out" and path == _nonlinearity(family, layer):
        return f"blocks.{layer}.mlp.act"
    return str(model.site(f"{MODULE}{path}.{side}").path)


def hook_at(model: Any, site: str) -> str | None:
    """Return the hook of TransformerLens at a site of a model; None where there is none."""
    match, layer = _BLOCK.fullmatch(site), _NAMED.fullmatch(site.removeprefix(MODULE).removesuffix(".out"))
    number = match[1] if match is not None else layer[1] if layer is not None else ""
    for hook in LENS:
        named = f"blocks.{number}.{hook}"
        try:
            if number and site_of_hook(model, named) == site:
                return named
        except PatchclampError:
            continue
    return None


def module_at(model: Any, site: str) -> str | None:
    """Return the module, counted from the base model, whose output a site is; None where there is none."""
    base = str(getattr(model.module, "base_model_prefix", "") or "")
    match, family = _BLOCK.fullmatch(site), _family(model)
    if site.startswith(MODULE):
        path = site.removeprefix(MODULE).removesuffix(".out") if site.endswith(".out") else None
    else:
        path = next((p.module for s, p in _whole_places(model) if s == site and p.side == "out"), None)
        if family is not None and match is not None and match[2] == "mlp.act":
            path = _nonlinearity(family, match[1])
    return None if path is None else path.removeprefix(f"{base}.") if base else path


def resolve_sites(model: Any, dictionary: Dictionary) -> Dictionary:
    """Return a dictionary whose sites are a model's own, where another library's names said what they are.

    Args:
        model: the subject.
        dictionary: what ``open_dictionary`` returned; one of patchclamp's own comes back as it is.

    Raises:
        PatchclampError: the model has no such place.
    """
    hooks = dictionary.about.get(HOOKS)
    named = hooks if isinstance(hooks, Mapping) else {}

    def find(site: str) -> str:
        if site in named:
            return site_of_hook(model, str(named[site]))
        path, _, side = site.removeprefix(MODULE).rpartition(".")
        # A site of the model's own keeps its name: units of a dictionary made there are known by it.
        foreign = site.startswith(MODULE) and path not in dict(model.module.named_modules())
        return site_of_module(model, path, side) if foreign else site

    read = [basis.reads or site for site, basis in dictionary.bases.items()]
    if (dictionary.about.get(CONDITIONS) or {}).get("centred") and any(map(in_stream, read)):
        _refuse_centring(model)
    bases = {}
    for site, basis in dictionary.bases.items():
        further = {find(path): decoder for path, decoder in basis.further.items()}
        reads = None if basis.reads is None else find(basis.reads)
        bases[find(site)] = basis if reads is None else replace(basis, reads=reads, further=further)
    about = {k: v for k, v in dictionary.about.items() if k != HOOKS}
    return replace(dictionary, bases=bases, about=about)


def in_stream(site: str) -> bool:
    """Say whether a site is the residual stream or what is added to it, which TransformerLens can centre."""
    return site.rpartition(".")[2] in ("resid_in", "resid_mid", "resid_out", "write")


def unmet_conditions(model: Any, dictionary: Dictionary) -> list[str]:
    """Return a line for each thing that is assumed of a dictionary's input, and each that the model's texts are not.

    Args:
        model: a language model.
        dictionary: what ``open_dictionary`` returned.
    """
    lines = [str(line) for line in dictionary.about.get("assumed") or ()]
    wanted = (dictionary.about.get(CONDITIONS) or {}).get("prepend_bos")
    begins = model.tokenizer.begins_with_bos
    if wanted is True and not begins:
        lines.append("it was trained on texts that begin with a BOS token, and these do not: --bos puts one there")
    if wanted is False and begins:
        lines.append("it was trained on texts without a BOS token, and these begin with one")
    return lines


def _refuse_centring(model: Any) -> None:
    """Refuse to take the mean off a stream that TransformerLens leaves as it is.

    Raises:
        PatchclampError: the network's norms do not take the mean off, so center_writing_weights does nothing there.
    """
    family = _family(model)
    if family is not None and not subtracts_mean(model.module.get_submodule(family.final_path(model.module))):
        raise PatchclampError(
            expected="a network of LayerNorms, whose stream can be centred",
            got=f"{model.name}, where center_writing_weights changes nothing",
            remedy="Open it without: --no-center, in Python center=False.",
        )


def _family(model: Any) -> Family | None:
    family = getattr(model, "family", None)
    return family if isinstance(family, Family) else None


def _whole_places(model: Any) -> Iterator[tuple[str, Place]]:
    """Yield the canonical sites that are all that a module takes or gives."""
    for site in model.sites():
        place = model._place(site.path)[1]
        if isinstance(place, Place) and not isinstance(place, Chunk | Expert | Scaled):
            yield site.path, place


def _nonlinearity(family: Family, layer: str) -> str | None:
    """Return the module whose output is ``mlp.act``; None in a gated MLP, where it is one factor of it."""
    alone = "mlp.act" in family.block and "mlp.up" not in family.block
    return f"{family.blocks}.{layer}.{family.nonlinearity}" if alone else None


def _norms_after_only(family: Family) -> bool:
    return bool(family.exit_norms) and not family.entry_norms


def _sublayer(family: Family, kind: str) -> str:
    """Return the module, counted from a block, that holds attention or the MLP."""
    place = family.block["attn.q" if kind == "attn.write" else "mlp.pre"]
    return place.module if isinstance(place, Tap) else place.module.rpartition(".")[0]


def _module(model: Any, name: str) -> str:
    """Return the path from the root of the one module that a name means."""
    paths = {path for path, _ in model.module.named_modules()}
    if name in paths:
        return name
    family, match = _family(model), _NAMED.fullmatch(name)
    if family is not None and match is not None:
        near = [path for path in (f"{family.blocks}.{match[1]}{match[2]}",) if path in paths]
    else:
        near = sorted(path for path in paths if path.endswith(f".{name}"))
    if len(near) != 1:
        raise PatchclampError(
            expected=f"one module of {model.name} called {name}",
            got=", ".join(near[:4]) or "none",
            remedy="Name the site with --sites; `patchclamp info MODEL --modules` lists every module's output.",
        )
    return near[0]
