"""Sites and units as words: ``Block 0 · MLP neurons`` for ``blocks.0.mlp.act``."""

import re
from collections.abc import Mapping

from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import UnitKey

_SLOT = re.compile(r"\.attn\.([qkv])/heads/")
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_SITES: Mapping[str, tuple[str, str]] = {
    "embed": ("embedding", "embedding coordinate"),
    "final": ("final residual stream", "final coordinate"),
    "resid_in": ("residual stream before", "residual coordinate before"),
    "resid_mid": ("residual stream between", "residual coordinate between"),
    "resid_out": ("residual stream after", "residual coordinate after"),
    "attn.q": ("attention queries", "query coordinate"),
    "attn.k": ("attention keys", "key coordinate"),
    "attn.v": ("attention values", "value coordinate"),
    "attn.pattern": ("attention pattern", "attention weight"),
    "attn.gate": ("attention output gates", "output gate coordinate"),
    "attn.z": ("attention head outputs", "head output coordinate"),
    "attn.write": ("attention output", "attention output coordinate"),
    "mlp.pre": ("MLP neurons before the nonlinearity", "MLP neuron before the nonlinearity"),
    "mlp.up": ("MLP up projection", "up projection coordinate"),
    "mlp.gate": ("MLP gates", "MLP gate"),
    "mlp.act": ("MLP neurons", "MLP neuron"),
    "mlp.router": ("router", "router's answer of expert"),
    "mlp.shared.pre": ("shared expert's neurons before the nonlinearity", "shared expert's neuron before it"),
    "mlp.shared.up": ("shared expert's up projection", "shared expert's up projection coordinate"),
    "mlp.shared.act": ("shared expert's neurons", "shared expert's neuron"),
    "mlp.write": ("MLP output", "MLP output coordinate"),
    "conv1.pre": ("first convolution before the nonlinearity", "first convolution before the nonlinearity, channel"),
    "conv1.act": ("first convolution", "first convolution, channel"),
    "conv2.pre": ("second convolution before the nonlinearity", "second convolution before the nonlinearity, channel"),
    "conv2.act": ("second convolution", "second convolution, channel"),
    "conv.write": ("convolution output", "convolution output, channel"),
    "shortcut": ("shortcut", "shortcut, channel"),
}
"""Kind of a site → what it holds, and one of them."""
_BASES: Mapping[str, tuple[str, str]] = {
    "heads": ("attention heads", "head"),
    "channels": ("channels", "channel"),
}
"""Basis → what it calls its units, where its site's own words do not."""
_POOLED = ("channels that the classifier reads", "channel that the classifier reads")
"""Site ``final`` of a network of maps: there is no residual stream."""
_ENDS = {"output": "output", "input": "input", "error": "error"}


def name_site(path: str, basis: str = "neurons") -> str:
    """Return a site in words: its block first; a site without a name of its own keeps its path.

    Args:
        path: the site's path.
        basis: how its units are counted.

    Returns:
        str: ``Block 0 · MLP neurons``.

    Example:
        >>> name_site("blocks.0.mlp.act"), name_site("blocks.2.attn.z", "heads"), name_site("embed")
        ('Block 0 · MLP neurons', 'Block 2 · attention heads', 'Embedding')
        >>> name_site("blocks.1.mlp.act", "topk"), name_site("hidden.0")
        ('Block 1 · features topk of MLP neurons', 'hidden.0')
    """
    block, kind = _split(path)
    words = _SITES[kind][0] if kind in _SITES else kind
    if (kind, basis) == ("final", "channels"):
        words = _POOLED[0]
    elif basis in _BASES:
        words = _BASES[basis][0] if kind in ("attn.z", "") or basis == "heads" else f"{_BASES[basis][0]} of {words}"
    elif basis not in ("neurons", "whole"):
        words = f"features {basis} of {words}"
    return _join(block, words, path)


def name_unit(key: str | UnitKey) -> str:
    """Return a unit in words, without its position; the ends of a graph too.

    Args:
        key: the unit's key, with or without subject and position, or ``output``, or ``input@3``.

    Returns:
        str: ``Block 0 · MLP neuron 9``.

    Example:
        >>> [name_unit(key) for key in ("cat/blocks.0.mlp.act/neurons/7@3", "blocks.2.attn.z/heads/1", "embed/whole/0")]
        ['Block 0 · MLP neuron 7', 'Block 2 · head 1', 'Embedding']
        >>> name_unit("output"), name_unit("blocks.1.mlp.write/whole/0@2")
        ('Output', 'Block 1 · MLP output')
    """
    if isinstance(key, str):
        end = key.partition("@")[0]
        if end in _ENDS:
            return _ENDS[end].capitalize()
        try:
            unit = UnitKey.parse(key)
        except PatchclampError:
            return key
    else:
        unit = key
    block, kind = _split(unit.site)
    if unit.basis == "whole":
        return name_site(unit.site, "whole")
    if (kind, unit.basis) == ("final", "channels"):
        words = f"{_POOLED[1]}, {unit.index}"
    elif unit.basis in _BASES:
        words = f"{_BASES[unit.basis][1]} {unit.index}"
        if unit.basis != "heads" and kind:
            words = f"{_SITES[kind][0] if kind in _SITES else kind}, {words}"
    elif unit.basis == "neurons":
        words = f"{_SITES[kind][1] if kind in _SITES else f'{kind}, unit'} {unit.index}"
    else:
        words = f"feature {unit.index} of {unit.basis}"
    return _join(block, words, words)


def name_part(part: str) -> str:
    """Return a unit or an edge of a circuit in words; of an edge into a head also which of q, k and v it is.

    Args:
        part: its key.

    Returns:
        str: ``Block 0 · head 1 → Block 2 · head 3 (k)``.

    Example:
        >>> name_part("blocks.0.attn.z/heads/1->blocks.2.attn.k/heads/3")
        'Block 0 · head 1 → Block 2 · head 3 (k)'
    """
    source, arrow, target = part.replace(" → ", "->").partition("->")
    if not arrow:
        return name_unit(part)
    slot = _SLOT.search(target)
    return f"{name_unit(source)} → {name_unit(target)}" + (f" ({slot[1]})" if slot else "")


def _split(path: str) -> tuple[str, str]:
    match = _BLOCK.fullmatch(path)
    return (match[1], match[2]) if match else ("", path)


def _join(block: str, words: str, path: str) -> str:
    if block:
        return f"Block {block} · {words}"
    return words if words == path else words[:1].upper() + words[1:]
