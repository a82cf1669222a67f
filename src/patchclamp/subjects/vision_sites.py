"""Where the sites of image models lie, every one shown as places by units."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.subjects.engine import Place, Tap
from patchclamp.subjects.families.spec import Family, find_covering


@dataclass(frozen=True)
class FeatureMap(Place):
    """Say where a tensor of an image model passes, and show it as ``(batch, place, unit)``.

    A map ``(batch, channel, y, x)`` has a place for every y · X + x; pooled values ``(batch, unit)`` have one; tokens
    stay as they are.

    Args:
        last: a map travels as ``(batch, y, x, channel)``.
    """

    last: bool = False

    def take(self, raw: Tensor) -> Tensor:
        """Turn the module's tensor into the site's layout."""
        if raw.ndim == 4:
            return raw.flatten(1, 2) if self.last else raw.flatten(2).transpose(1, 2)
        return raw[:, None] if raw.ndim == 2 else raw

    def give(self, new: Tensor, raw: Tensor) -> Tensor:
        """Turn values in the site's layout back into the module's, with the strides that the next module expects."""
        if raw.ndim == 2:
            return new[:, 0]
        if raw.ndim == 3:
            return new
        if self.last:
            return new.unflatten(1, raw.shape[1:3])
        back = new.transpose(1, 2).unflatten(2, raw.shape[2:])
        return back.contiguous() if raw.is_contiguous() else back

    def under(self, prefix: str) -> "FeatureMap":
        """Return the same place, its module counted from ``prefix``."""
        return replace(self, module=f"{prefix}.{self.module}" if self.module else prefix)


_WHOLE = FeatureMap("", "out")


@dataclass(frozen=True)
class VisionFamily(Family):
    """Give meaning to the modules of one architecture of image models.

    Widths and places are measured, not read from a config. ``blocks`` may hold stars, for blocks within stages;
    blocks are numbered through.

    Args:
        stem: where ``embed`` lies.
        last: where ``final`` lies, what the answers are read from; without a module the last block's output.
        normed: the answers are read through the norm at the path ``final``.
        answer: model and ``(batch, place, unit)`` values at ``final`` to ``(batch, class)`` logits.
        summed: kinds whose sum with the block's input is its output, in order.
        after: path, from a block, of what the sum passes before it leaves the block; empty for nothing.
        shortcut: path, from a block, of what the block's input passes before the sum; empty for nothing.
        finish: block, ``(image, channel, y, x)`` or ``(image, token, unit)`` values after a nonlinearity of its branch,
            and which (``mlp``, ``conv1``), to what the branch writes.
        tokens: tokens that stand before the image's patches.
        tiny_shape: ``(channel, y, x)`` that the tiny model takes.
        excluded: number of a part of the contract that does not apply, to the reason.
    """

    stem: Place = _WHOLE
    last: Place = _WHOLE
    normed: bool = True
    answer: Callable[[Any, Tensor], Tensor] = lambda model, final: model.classifier(final[:, 0])
    summed: tuple[str, ...] = ("attn.write", "mlp.write")
    after: str = ""
    shortcut: str = ""
    finish: Callable[[Any, Tensor, str], Tensor] = lambda block, act, which: block.mlp.fc2(act)
    tokens: int = 0
    tiny_shape: tuple[int, int, int] = (3, 12, 12)
    excluded: Mapping[int, str] = field(default_factory=dict)

    @property
    def attends(self) -> bool:
        """Whether its blocks read and write a stream of tokens by attention and an MLP."""
        return "attn.z" in self.block

    def block_paths(self, model: nn.Module) -> list[str]:
        """Return the paths of the blocks in forward order, stage after stage."""
        pattern = re.compile(
            re.escape(f"{self.blocks}.*" if "*" not in self.blocks else self.blocks).replace(r"\*", r"\d+")
        )
        return [path for path, _ in model.named_modules() if pattern.fullmatch(path)]

    def layers(self, model: nn.Module) -> list[nn.Module]:
        """Return the blocks in order."""
        return [model.get_submodule(path) for path in self.block_paths(model)]

    def list_sites(self, model: nn.Module) -> dict[str, tuple[str, int | None, Place | Tap]]:
        """Return every canonical site that the model has, in forward order: its kind, its block, its place."""
        sites: dict[str, tuple[str, int | None, Place | Tap]] = {"embed": ("embed", None, self.stem)}
        whole = {"resid_in": FeatureMap("", "in"), **self.block, "resid_out": FeatureMap("", "out")}
        modules = dict(model.named_modules())
        for i, block in enumerate(self.block_paths(model)):
            for name, place in whole.items():
                inside = place.under(block)
                act = whole.get(name.replace(".pre", ".act"), place).under(block).module
                # The last convolution of a branch has no nonlinearity before the sum, so nothing to be called act.
                bare = name.startswith("conv") and isinstance(modules.get(act), nn.Identity)
                if inside.module in modules and not bare:
                    # conv1.act and conv2.act are one kind, as blocks.0 and blocks.1 are.
                    sites[f"blocks.{i}.{name}"] = (re.sub(r"(?<=conv)\d", "", name), i, inside)
        last = self.last if self.last.module else self.last.under(self.block_paths(model)[-1])
        return {**sites, "final": ("final", None, last)}


def site_at(path: str, kind: str, layer: int | None, place: Place | Tap, shape: torch.Size, heads: int) -> Site:
    """Return the site of a tensor that was seen once.

    Args:
        path: its name.
        kind: the name without its block.
        layer: its block.
        place: where it passes.
        shape: of the module's own tensor, or of a tapped one in the site's layout.
        heads: attention heads of the model.

    Returns:
        Site: with its width, number of places and what can be changed there.
    """
    if isinstance(place, Tap):
        ragged = place.slot == "pattern"
        axes = ("stimulus", "token", "head", "source") if ragged else ("stimulus", "token", "unit")
        return Site(path, kind, 0 if ragged else shape[2], axes, heads, layer, tapped=True, places=(shape[1],))
    if len(shape) == 4:
        last = isinstance(place, FeatureMap) and place.last
        places = (shape[1], shape[2]) if last else (shape[2], shape[3])
        width = shape[3] if last else shape[1]
        return Site(path, kind, width, ("stimulus", "y", "x", "channel"), layer=layer, places=places)
    n_heads = heads if kind == "attn.z" else 0
    tokens = shape[1] if len(shape) == 3 else 1
    return Site(path, kind, shape[-1], ("stimulus", "token", "unit"), n_heads, layer, places=(tokens,))


def module_feature_map(dotted: str, side: Literal["in", "out"], module: nn.Module) -> FeatureMap:
    """Return the place of a module site: linear layers and layer norms take maps with their channels last.

    Returns:
        FeatureMap: the module's side, and whether its channels lie last.
    """
    return FeatureMap(dotted, side, last=isinstance(module, nn.Linear | nn.LayerNorm))


# -- which families there are -----------------------------------------------------------------------------------------

_FOLDER = "patchclamp.subjects.families.vision"


@cache
def vision_family_names() -> tuple[str, ...]:
    """List the families of image models: the files of their folder."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(importlib.import_module(_FOLDER).__path__)))


def vision_family(name: str) -> VisionFamily:
    """Return a family of image models by name.

    Raises:
        PatchclampError: no such file.
    """
    if name not in vision_family_names():
        raise PatchclampError(
            expected=f"a family of image models among {', '.join(vision_family_names())}",
            got=repr(name),
            remedy="Other architectures work through module sites; docs/howto/family.md says how to add a family.",
        )
    one: VisionFamily = importlib.import_module(f"{_FOLDER}.{name}").FAMILY
    return one


def vision_family_of(model: nn.Module) -> VisionFamily | None:
    """Return the family that covers an image model's class and config, or None."""
    return find_covering(model, vision_families())


def vision_families() -> Iterator[VisionFamily]:
    """Yield every family of image models."""
    return map(vision_family, vision_family_names())
