"""An image model in the rig, every site shown as places by units."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from patchclamp.core.arguments import checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.recording import Recording
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Picture, Shown
from patchclamp.core.subject import Capabilities, Differentiated, Run
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import Edits, TokenPositions, by_row, upcast
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.classes import NamesClasses
from patchclamp.subjects.engine import Engine, Place, Restart, Tap, Wrap, stop_once_called
from patchclamp.subjects.families.spec import reason_uncovered
from patchclamp.subjects.images import Preparation, gallery, picture
from patchclamp.subjects.language import Attention
from patchclamp.subjects.probing import MODULE, shapes_inside
from patchclamp.subjects.reading import read_image
from patchclamp.subjects.relevance_rules import Rule, check_rules, forward_replacements, last_visits
from patchclamp.subjects.vision_sites import (
    VisionFamily,
    module_feature_map,
    site_at,
    vision_families,
    vision_family_of,
)
from patchclamp.subjects.visits import gradients_of, keep_on_path, refuse_second_call


@checked
class VisionModel(NamesClasses):
    """Lay an image model in the rig.

    Args:
        model: a Hugging Face image model, or any module from ``(image, channel, y, x)`` to ``(image, class)``; it is
            set to evaluation and otherwise used as it is, restored after every use.
        prepare: turns pictures into what it takes; see ``Preparation``.
        name: what to call it in keys.
        hash: identity, where the caller knows it (a folder's hash); else that of the weights.
        family: where the canonical sites lie (default: found by class name). Without one there are module sites.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        >>> model = VisionModel(net, Preparation(shape=(1, 8, 8)))
        >>> run = model.run(np.full((8, 8), 200), record="module.0.out")
        >>> run.logits.shape, run.recording["module.0.out"].shape, model.site("module.0.out").places
        (torch.Size([1, 3]), torch.Size([36, 4]), (6, 6))
    """

    family: VisionFamily | None
    stimulus_kind = "images"
    instead = "An image model answers with classes: run, differentiate, sweep and explain it; record and survey images."

    def __init__(
        self,
        model: nn.Module,
        prepare: Preparation,
        *,
        name: str | None = None,
        hash: str | None = None,
        family: VisionFamily | None = None,
    ) -> None:
        self.prepare = prepare
        config = getattr(model, "config", None)
        super().__init__(
            model.eval(), self._blank(model), name=name or getattr(config, "_name_or_path", "") or type(model).__name__
        )
        self.family = family or (vision_family_of(model) if config is not None else None)
        if hash is not None:
            self.__dict__["hash"] = hash
        self.direct = self.restarts = self.family is not None and self.family.attends
        self.levels = ("neuron", "head") if self.direct else ("channel",)
        if self.family is not None:
            blocks = self.family.layers(model) if self.restarts else ()
            self.engine = Engine(model, blocks=blocks)

    def _blank(self, model: nn.Module) -> Tensor:
        """Return two black images: sites whose first size is 2 have a row for each image."""
        like = next(model.parameters(), torch.zeros(0))
        return torch.zeros(2, *self.prepare.shape, dtype=like.dtype, device=like.device)

    @property
    def capabilities(self) -> Capabilities:
        """What can be done with it; ``missing`` says why not where it cannot."""
        bare = super().capabilities
        missing = (
            *(each for each in bare.missing if each[0] == "differentiate"),
            ("generate", "it answers with classes, not with text"),
        )
        if self.family is None:
            why = f"{reason_uncovered(self.module, vision_families())}: use module sites"
            missing = (*missing, ("attention", why), ("canonical sites", why))
        elif not self.family.attends:
            missing = (*missing, ("attention", "it has none"))
        return Capabilities(True, bare.differentiate, False, self.direct, missing)

    @property
    def input_hashes(self) -> dict[str, str]:
        """Hash of the preparation."""
        return {"preparation": self.prepare.hash}

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        return self.example_inputs[0].device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        return self.example_inputs[0].dtype

    # -- sites --------------------------------------------------------------------------------------------------------

    @cached_property
    def _places(self) -> dict[str, tuple[Site, Place | Tap]]:
        if self.family is None:
            return self._module_places
        listed = self.family.list_sites(self.module)
        shapes: dict[str, torch.Size] = {}

        def note(path: str) -> Callable[[Tensor], Tensor]:
            def run(x: Tensor) -> Tensor:
                shapes[path] = x.shape
                return x

            return run

        # A plain place shows the module's own tensor, before it is laid out.
        seen = [
            (place if isinstance(place, Tap) else Place(place.module, place.side), note(path))
            for path, (_, _, place) in listed.items()
        ]
        with torch.no_grad(), self.engine.attach_visits(seen):
            self.module(*self.example_inputs)
        config = getattr(self.module.config, "vision_config", self.module.config)
        heads = getattr(config, "num_attention_heads", 0)
        return {
            path: (site_at(path, kind, layer, place, shapes[path], heads), place)
            for path, (kind, layer, place) in listed.items()
        }

    @cached_property
    def _module_places(self) -> dict[str, tuple[Site, Place | Tap]]:
        places: dict[str, tuple[Site, Place | Tap]] = {}
        for path, (shape, *more) in shapes_inside(self.module, self._forward_example).items():
            dotted, _, side = path[len(MODULE) :].rpartition(".")
            # Only what has a row for each image; windows and flattened patches have not.
            if shape[0] == 2 and len(shape) in (2, 3, 4) and side in ("in", "out"):
                place = module_feature_map(dotted, "in" if side == "in" else "out", self.module.get_submodule(dotted))
                site = site_at(path, "module", None, place, shape, 0)
                places[path] = (replace(site, calls=1 + len(more)), place)
        return places

    def of_level(self, level: str) -> dict[str, str]:
        """Return the sites of a level with their basis; ``channel`` is every map of a nonlinearity's output.

        Without a family the channels are those of batch norms, else of convolutions.
        """
        if level != "channel":
            return super().of_level(level)
        if self.family is not None:
            kinds = ("conv.act", "mlp.act")
            return {s.path: "channels" for s in self.sites() if s.kind in kinds and len(s.places) == 2}
        for kind in (nn.BatchNorm2d, nn.Conv2d):
            paths = [f"{MODULE}{path}.out" for path, m in self.module.named_modules() if isinstance(m, kind)]
            if paths:
                return {path: "channels" for path in self._module_places if path in paths}
        return {}

    # -- images and classes -------------------------------------------------------------------------------------------

    def stimuli(self, shown: Any) -> list[Picture]:
        """Turn what people pass (paths, arrays, pictures, PIL images, or a list of these) into pictures.

        Raises:
            PatchclampError: nothing, no image, or an array of another shape.
        """
        if isinstance(shown, str | Path):
            pictures = list(gallery(shown))
        elif isinstance(shown, Tensor | np.ndarray):
            x = np.asarray(shown.detach().cpu() if isinstance(shown, Tensor) else shown)
            pictures = [picture(one) for one in x] if x.ndim == 4 else [picture(x)]
        elif isinstance(shown, Iterable) and not isinstance(shown, Picture):
            pictures = [p for item in shown for p in self.stimuli(item)]
        else:
            pictures = [picture(shown)]
        if not pictures:
            raise PatchclampError(expected="at least one image", got="none", remedy="Give a path or an array.")
        return pictures

    def read_case(self, shown: Any, targets: Sequence[Any], contrasts: Sequence[Any] = (), **how: Any) -> ReadCase:
        """Turn an image and its classes into a picture and a metric; see ``Model.read_case``.

        Returns:
            ReadCase: picture, counterpart and metric.
        """
        return read_image(self, shown, targets, contrasts, **how)

    @cached_property
    def n_answers(self) -> int:
        """Number of logits: classes."""
        with torch.no_grad():
            return int(answers(self.module(*self.example_inputs)).shape[1])

    def place_name(self, shown: Shown, node: UnitKey) -> str:
        """Return where on the image a node is looked at."""
        site = self.site(node.site)
        if node.position is None:
            return "everywhere"
        if len(site.places) == 2:
            return "y{} x{}".format(*site.place(node.position))
        before = 0 if self.family is None else self.family.tokens
        side = round((site.n_places - before) ** 0.5)
        if site.n_places == 1 or self.family is None:
            return "image" if site.n_places == 1 else str(node.position)
        # Patches of a picture that is not square have no side; their number stands for them.
        patch, square = node.position - before, side * side == site.n_places - before
        return "class token" if patch < 0 else "y{} x{}".format(*divmod(patch, side)) if square else f"patch {patch}"

    def promoted_logits(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n answer"] | None:
        """Return what values at a site promote through the residual stream and the classifier alone.

        None where no stream leads there: convolutions mix what was written before.
        """
        if self.family is None or (written := self.write_to_stream(site, values)) is None:
            return None
        norm = self.module.get_submodule(self.family.final) if self.family.normed else nn.Identity()
        with torch.no_grad():
            directions = torch.cat([written, torch.zeros_like(written[:1])])
            # The same direction at the class token and at every patch: whatever the answers are read from.
            logits = self.family.answer(self.module, norm(directions)[:, None].expand(-1, 2, -1))
        return logits[:-1] - logits[-1:]

    def write_to_stream(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n d_model"] | None:
        """Return what values at ``mlp.act`` or ``attn.z`` write to the residual stream; None where there is none."""
        if self.family is None or not self.direct:
            return None
        place = self._place(site)[1]
        linear = self.module.get_submodule(place.module)
        kind = self.site(site).kind
        write = self.family.block[kind.split(".")[0] + ".write"].under(
            self.family.block_paths(self.module)[self.site(site).layer or 0]
        )
        scaled = self.module.get_submodule(write.module) if not place.module.startswith(write.module) else nn.Identity()
        with torch.no_grad():
            both = scaled(linear(torch.cat([values, torch.zeros_like(values[:1])])))
        return both[:-1] - both[-1:]

    # -- running ------------------------------------------------------------------------------------------------------

    def run(
        self,
        stimuli: Any,
        *,
        record: str | Sequence[str] = (),
        interventions: Sequence[Any] = (),
        logits: bool | Sequence[int] = True,
        attention: Attention = "native",
        restart: Restart | None = None,
    ) -> Run:
        """Show images in one batch, with changes, and record.

        Without logits the forward pass stops at the last recorded site.

        Args:
            stimuli: paths, arrays, pictures, or a list of these.
            record: site paths or patterns, such as ``blocks.*.conv1.act``.
            interventions: one list for every row, or a list per row (one image is then repeated for each).
            logits: True for all classes, False for none; [−1] puts a position before them, as metrics read them.
            attention: ``tap`` routes attention through the tap even where no site needs it.
            restart: skip the blocks before a layer.

        Returns:
            Run: logits ``(stimulus, class)``; the recording has as many rows per image as a site has places.

        Raises:
            PatchclampError: unknown sites, units or places out of range, images that do not fit.

        Cost: one forward pass.
        """
        shown = self._repeat(stimuli, interventions)
        kept: dict[str, Any] = {}

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, kept)
            # A copy: ResNets add to a branch's output, and activate it, in place.
            kept[path] = self._rows(path, x).clone()
            return x

        with torch.no_grad():
            output = self._forward(shown, self._paths(record), keep, interventions, logits, attention, restart)
        return Run(tuple(shown), output, self._recording(shown, kept))

    def watch(self, stimuli: Any, sites: str | Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show images in one batch and hand over what each site does as it is computed; nothing is kept.

        Args:
            stimuli: paths, arrays, pictures, or a list of these.
            sites: site paths or patterns.
            see: called with each site's path and its ``(rows, width)`` values; they are the network's own, so it copies
                what it wants to keep and changes nothing.

        Cost: one forward pass, stopped at the last site; memory of one site.
        """
        met: set[str] = set()

        def keep(path: str, x: Tensor) -> Tensor:
            refuse_second_call(path, met)
            met.add(path)
            see(path, self._rows(path, x))
            return x

        with torch.no_grad():
            self._forward(self.stimuli(stimuli), self._paths(sites), keep, (), False)

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
        """Return a metric's gradient at sites, and the values there.

        Args:
            stimuli: paths, arrays, pictures, or a list of these.
            metric: what is differentiated, its tokens being classes.
            sites: site paths or patterns.
            interventions: changes that hold meanwhile; gradients flow through them.
            rules: relevance rules among ``ln identity half ah direct``, for models of tokens.
            restart: skip the blocks before a layer.

        Returns:
            Differentiated: m ``(image,)``, and gradient and value by site, as recordings.

        Raises:
            CannotIntervene: rules for a network that they are not made for.

        Cost: one forward and one backward pass; memory of all activations between.
        """
        self.require("differentiate")
        ruled = check_rules(rules)
        if ruled and not self.direct:
            raise CannotIntervene(
                expected="a vision transformer of a known family, for relevance rules",
                got=self.name,
                remedy="Convolutions have no stand-ins: use integrated gradients or attribution patching.",
            )
        shown = self._repeat(stimuli, interventions)
        held: dict[str, Tensor] = {}
        hold = keep_on_path(held)
        with torch.enable_grad():
            output = self._forward(
                shown,
                self._paths(sites),
                lambda path, x: hold(path, x).clone(),
                interventions,
                metric.positions,
                "native",
                restart,
                ruled,
                True,
            )
            assert output is not None
            measured = metric(upcast(output))
            gradients_at = gradients_of(measured, held)
        values = {path: self._rows(path, x.detach()) for path, x in held.items()}
        gradients = {path: self._rows(path, g) for path, g in gradients_at.items()}
        return Differentiated(measured.detach(), self._recording(shown, values), self._recording(shown, gradients))

    def differentiable(
        self, pixels: Float[Tensor, "image channel y x"], site: str
    ) -> Float[Tensor, "image place unit"]:
        """Return a site's values for pixels that the network is shown as they are, joined to them for gradients.

        Args:
            pixels: prepared, with gradients.
            site: its path.

        Returns:
            Float[Tensor, "image place unit"]: from which gradients flow back to the pixels.

        Cost: one forward pass; memory of its activations.
        """
        held: dict[str, Tensor] = {}

        def hold(x: Tensor) -> Tensor:
            held[site] = x
            return x.clone()  # what is added in place afterwards must not change it

        with torch.enable_grad(), self.engine.attach_visits([(self._place(site)[1], hold)]):
            self.module(pixels)
        return held[site]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _repeat(self, stimuli: Any, interventions: Sequence[Any]) -> list[Picture]:
        shown = self.stimuli(stimuli)
        return shown * len(interventions) if by_row(interventions) and len(shown) == 1 else shown

    def _forward(
        self,
        shown: Sequence[Picture],
        paths: Sequence[str],
        keep: Callable[[str, Tensor], Tensor],
        interventions: Sequence[Any],
        logits: bool | Sequence[int],
        attention: Attention = "native",
        restart: Restart | None = None,
        rules: Sequence[Rule] = (),
        freeze: bool = False,
    ) -> Tensor | None:
        edits = self._bind(interventions, len(shown))
        for path, own in edits.by_site.items():
            Edits({path: own}).check([self.site(path).n_places] * len(shown), steps=False)
        if not isinstance(logits, bool) and any(p not in (0, -1) for p in logits):
            raise PatchclampError(
                expected="position −1, the only one at which an image is answered",
                got=str(list(logits)),
                remedy="Leave positions out.",
            )
        frames: dict[int, TokenPositions] = {}

        def frame(site: Site) -> TokenPositions:
            n = site.n_places
            if n not in frames:
                frames[n] = TokenPositions(torch.arange(n).expand(len(shown), n), torch.full((len(shown),), n), shown)
            return frames[n]

        output: Tensor | None = None
        with stop_once_called([] if logits is not False else paths) as seen:

            def then(path: str, x: Tensor) -> Tensor:
                kept = keep(path, x)
                seen(path)
                return kept

            visits = self._visits(paths, edits, frame, then)
            tapped = attention == "tap" or any(isinstance(place, Tap) for place, _ in visits)
            replaced: dict[str, Wrap] = {}
            if rules and self.family is not None:
                replaced = forward_replacements(self.family, self.module, rules)
                visits += last_visits(self.family, self.module, rules)
            with self.engine.attach_visits(
                visits, restart=restart, tap=tapped, native=not tapped, freeze=freeze, stand_ins=replaced
            ):
                output = answers(self.module(self._pixels(shown)))
        if output is None or logits is False:
            return None
        return output if logits is True else output[:, None].expand(-1, len(list(logits)), -1)

    def _pixels(self, shown: Sequence[Picture]) -> Float[Tensor, "image channel y x"]:
        prepared = {p.id: self.prepare(p) for p in dict.fromkeys(shown)}
        return torch.from_numpy(np.stack([prepared[p.id] for p in shown])).to(self.device, self.dtype)

    def _rows(self, path: str, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        site = self._place(path)[0]
        return rows if site.width else rows.unflatten(1, (site.n_heads, -1))

    def _recording(self, stimuli: Sequence[Shown], values: Any) -> Recording:
        bare = super()._recording(stimuli, values)
        about = {"subject": self.name, "dtype": str(self.dtype).removeprefix("torch.")}
        return Recording(bare.stimuli, bare.values, bare.sites, about)


def answers(output: Any) -> Tensor:
    """Return ``(image, class)`` logits, or an embedding where the model has no classes, from what a model returned."""
    for name in ("logits", "image_embeds", "pooler_output"):
        logits = getattr(output, name, None)
        if isinstance(logits, Tensor):
            return logits.flatten(1)
    logits = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise PatchclampError(
            expected="a model that answers each image with one vector of logits",
            got=f"{type(logits).__name__} of shape {tuple(getattr(logits, 'shape', ()))}",
            remedy="Wrap it in a module that returns the logits.",
        )
    return logits
