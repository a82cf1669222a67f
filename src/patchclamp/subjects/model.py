"""A network that is shown stimuli and answers with logits; what language and vision share."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.arguments import Natural, Positive, checked
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import EachMetric, Metric, MetricKind
from patchclamp.core.stimulus import Shown
from patchclamp.core.subject import Differentiated, Progress
from patchclamp.core.task import Task
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import LEAST_DIFFERENCE, ReadCase, ReadTask, read_cases
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.families.spec import Family
from patchclamp.subjects.network import Network
from patchclamp.subjects.relevance_rules import DIRECT, RULES, forward_replacements
from patchclamp.subjects.versions import warn_if_untested


@checked
class Model(Network):
    """Say what every model in the rig can do, whatever it is shown; the verbs ask for no more.

    A model turns what people pass into stimuli, runs and differentiates them, and names its answers and places.
    """

    module: Any
    family: Family | None = None
    instead = "It answers through its own head: see its capabilities, and docs/reference/python_guide.md."
    levels: tuple[str, ...] = ("neuron", "head")
    """Levels of units that it has, among those of ``attribute_nodes``."""
    restarts: bool = True
    """Whether a forward pass can begin at a block, from the residual stream."""
    direct: bool = True
    """Whether what a unit writes reaches the logits by a residual stream alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        warn_if_untested()
        super().__init__(*args, **options)

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        """Type of the activations."""
        raise NotImplementedError

    @property
    def n_layers(self) -> int:
        """Number of blocks; 0 without a family."""
        return len(self.engine.blocks)

    def of_level(self, level: str) -> dict[str, str]:
        """Return the sites of a level of units, in forward order, each with the units' basis.

        Args:
            level: ``neuron`` (in networks of state-space mixers alone, a mixer's channels behind its gate), ``head``,
                ``node`` (what writes to the residual stream: the embedding, heads, mixers, MLPs),
                ``channel``, ``feature`` (the bases that were added, each at its site), or a pattern of site paths, with
                ``/whole`` or another basis behind it where its units are not the neurons or channels.

        Raises:
            PatchclampError: ``feature`` without a basis, or with two at one site.
            CannotIntervene: ``feature`` with a transcoder.
        """
        if level == "feature":
            return self._features()
        kinds = {
            "neuron": {"mlp.act": "neurons"},
            "head": {"attn.z": "heads"},
            "node": {"embed": "whole", "attn.z": "heads", "ssm.write": "whole", "mlp.write": "whole"},
        }
        if level == "neuron" and not any(site.kind == "mlp.act" for site in self.sites()):
            kinds["neuron"] = {"ssm.z": "neurons"}
        if level in kinds:
            return {site.path: kinds[level][site.kind] for site in self.sites() if site.kind in kinds[level]}
        if "." not in level:
            return {}
        pattern, _, basis = level.partition("/")
        return {s.path: basis or ("channels" if len(s.places) == 2 else "neurons") for s in self.select(pattern)}

    def _features(self) -> dict[str, str]:
        """Return the site of every basis of directions that was added at one, with its name."""
        by_site: dict[str, str] = {}
        for key, basis in self.bases.items():
            path, _, name = key.rpartition("/")
            if not path or basis.kind != "directions":
                continue
            if basis.reads is not None:
                raise CannotIntervene(
                    expected="a basis that reads the site that it writes",
                    got=f"{name}, which reads {basis.reads} and writes {path}",
                    remedy="A transcoder's features replace an MLP and are no part of what passes through this model: "
                    "take a sparse autoencoder or a factorisation of that site, or neurons.",
                )
            if path in by_site:
                raise PatchclampError(
                    expected="one basis at a site",
                    got=f"{by_site[path]} and {name} at {path}",
                    remedy="Explain with one, then with the other.",
                )
            by_site[path] = name
        if not by_site:
            raise PatchclampError(
                expected="a basis for the level feature",
                got=f"{self.name} without one",
                remedy="Add one with --basis DIR, in Python model.add_dictionary(pc.load_basis(DIR)).",
            )
        return {site.path: by_site[site.path] for site in map(self.site, by_site)}

    @property
    def rules(self) -> tuple[str, ...]:
        """Relevance rules that are derived for its family; none without one."""
        return () if self.family is None else tuple(rule for rule in RULES if rule not in self.family.underived)

    @property
    def indirect(self) -> str:
        """Why what a unit writes cannot be followed straight to the logits, in words; empty where it can."""
        missing = {what: why.partition(":")[0] for what, why in self.capabilities.missing}
        if "differentiate" in missing or self.family is None:
            return missing.get("differentiate") or missing.get("canonical sites", "no family file covers it")
        if not self.direct:
            return "its blocks mix what was written before"
        try:
            forward_replacements(self.family, self.module, DIRECT)
        except PatchclampError as problem:
            return problem.got
        return ""

    # -- what it is shown, and what it says ---------------------------------------------------------------------------

    def stimuli(self, shown: Any) -> list[Any]:
        """Turn what people pass into stimuli."""
        raise NotImplementedError

    @property
    def n_answers(self) -> int:
        """Number of logits: tokens, or classes."""
        raise NotImplementedError

    def answer_name(self, index: int) -> str:
        """Return what a logit stands for, as people read it."""
        raise NotImplementedError

    def place_name(self, shown: Shown, node: UnitKey) -> str:
        """Return what stands at a node's place in a stimulus: the token, or where on the image."""
        raise NotImplementedError

    def read(self, task: Task, *, least: float | None = LEAST_DIFFERENCE, chat: bool = False) -> ReadTask:
        """Read a task: turn every case into what this model is shown and a metric, and measure m at both ends.

        Args:
            task: cases of texts or token ids, of a model of images of paths, arrays or names such as ``digits:17``;
                either all have counterparts, or those without are skipped.
            least: smallest |m(x) − m(x′)| of a case that is kept; None measures nothing.
            chat: wrap every prompt in the model's chat template as a user's message, up to where an answer follows.

        Returns:
            ReadTask: what can be compared; what was skipped stays in its task, with the reason: prompts of unequal
                length, answers that change the prompt's tokens or cannot be distinguished, cases whose two ends hardly
                differ.

        Raises:
            PatchclampError: the only case cannot be read, or nothing is left.

        Cost: two forward passes per 64 cases of one length.

        Example:
            >>> from patchclamp.loaders import load
            >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
            >>> cases = load("organism:cat").read(task)
            >>> cases.m_clean.round(1).tolist(), cases.m_counterpart.round(1).tolist()
            ([4.0], [-4.0])
        """
        shown = [(case.shown, case.counterpart, {"chat": True} if chat else {}) for case in task.cases]
        return read_cases(self, task, shown, least)

    def read_case(
        self,
        shown: Any,
        targets: Sequence[str | int],
        contrasts: Sequence[str | int] = (),
        *,
        counterpart: Any = None,
        measure: MetricKind | None = None,
        metric: Metric | None = None,
    ) -> ReadCase:
        """Turn one thing that is shown, and its answers, into a stimulus and a metric; nothing is run.

        Args:
            shown: a text, token ids or a stimulus; an image; of a plain network a tensor.
            targets: the answers, with their leading space; classes by name or number.
            contrasts: answers that they are compared with.
            counterpart: what is shown in its place, of as many tokens.
            measure: m (default: the logit of the targets, or the difference of two).
            metric: any other number, read at positions of what is shown, instead of targets and contrasts.

        Returns:
            ReadCase: stimulus, counterpart and metric.

        Raises:
            CannotRead: what keeps this case from being read; in a task of several it is skipped.
            PatchclampError: what no case of this model can have.
        """
        raise NotImplementedError

    def unknown_words(self, shown: Any) -> list[str]:
        """Return the words of a prompt that its vocabulary lacks; none where it is shown something else."""
        return []

    def promoted_logits(self, site: str, values: Float[Tensor, "n width"]) -> Float[Tensor, "n answer"] | None:
        """Return what values at a site promote through the residual stream alone; None where there is none."""
        return None

    def watch(self, stimuli: Any, sites: str | Sequence[str], see: Callable[[str, Tensor], None]) -> None:
        """Show stimuli in one batch and hand over what each site does as it is computed; nothing is kept."""
        raise NotImplementedError

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

        Returns:
            Differentiated: m ``(stimulus,)``, and gradient and value by site, as recordings.
        """
        raise NotImplementedError

    # -- measuring ----------------------------------------------------------------------------------------------------

    def measure(self, stimuli: Any, metric: Metric | EachMetric, **options: Any) -> Float[Tensor, " stimulus"]:
        """Return a metric's value for each row; options as for ``run``.

        Returns:
            Float[Tensor, " stimulus"]: one number per stimulus, in their order.

        Example:
            >>> from patchclamp.loaders import load
            >>> cat = load("organism:cat")
            >>> cat.measure(["the old cat", "the dog"], Metric("logit", cat.continuation("the old cat", " sat"))).shape
            torch.Size([2])
        """
        return metric(upcast(self.run(stimuli, logits=metric.positions, **options).logits))

    def sweep(
        self,
        stimulus: Any,
        metric: Metric | EachMetric,
        cells: Sequence[Sequence[Intervention]],
        *,
        of: Sequence[Natural] | None = None,
        batch_size: Positive = 64,
        progress: Progress | None = None,
    ) -> Float[Tensor, " cell"]:
        """Return the metric under each of many sets of interventions on one stimulus, or on several of one length.

        Cells are sorted by the first block that they touch; each group restarts there from the clean residual stream,
        one row per cell, and unembeds only the positions that the metric reads.

        Args:
            stimulus: one prompt, or one image; with ``of`` several.
            metric: what is measured; with ``of`` one per stimulus.
            cells: a list of interventions per cell; asked for one by one, so that they need not exist all at once.
            of: the stimulus of each cell, where there are several.
            batch_size: rows per forward pass.
            progress: called with cells done and cells in all.

        Returns:
            ``(cell,)`` metric values: those of one run per cell, to the bit with ``batch_size=1``, else to rounding
            (about 1e-6: a matrix product of few rows adds up in another order than one of many).

        Raises:
            PatchclampError: several stimuli without ``of``, or of unequal length.

        Cost: one forward to record the residual streams, then Σ cells / batch_size partial forwards.
        """
        shown = self.stimuli(stimulus)
        if (of is None and len(shown) != 1) or len({len(one) for one in shown}) != 1:
            raise PatchclampError(
                expected="one stimulus, or several of one length and `of`, which says whose each cell is",
                got=f"{len(shown)}, of {' and '.join(str(n) for n in sorted({len(one) for one in shown}))} tokens",
                remedy="Sweep those of each length by themselves.",
            )
        whose_each = [0] * len(cells) if of is None else list(of)
        if len(whose_each) != len(cells) or not all(0 <= i < len(shown) for i in whose_each):
            raise PatchclampError(
                expected=f"for each of {len(cells)} cells a stimulus from 0 to {len(shown) - 1}",
                got=f"of={whose_each!r:.60}",
                remedy="Leave `of` out for one stimulus.",
            )
        touched = ([path for change in cell for path in change.sites] for cell in cells)
        first = [min(map(self.first_layer, paths), default=0) if self.restarts else 0 for paths in touched]
        starts = sorted({layer for layer in first if layer > 0})
        paths = [f"blocks.{layer}.resid_in" for layer in starts]
        clean = self.run(shown, record=paths, logits=False).recording if paths else None
        measured = upcast(torch.zeros(len(cells), dtype=self.dtype, device=self.device))
        done = 0
        for layer in sorted(set(first)):
            members = [i for i, start in enumerate(first) if start == layer]
            for part in (members[k : k + batch_size] for k in range(0, len(members), batch_size)):
                whose = [int(whose_each[i]) for i in part]
                restart = None
                if layer > 0 and clean is not None:
                    residual = clean[f"blocks.{layer}.resid_in"]
                    restart = Restart(layer, residual.unflatten(0, (len(shown), -1))[whose])
                own = EachMetric(tuple(metric.metrics[k] for k in whose)) if isinstance(metric, EachMetric) else metric
                rows = [list(cells[i]) for i in part]
                measured[part] = self.measure([shown[k] for k in whose], own, interventions=rows, restart=restart)
                done += len(part)
                if progress is not None:
                    progress(done, len(cells))
        return measured

    def first_layer(self, path: str) -> int:
        """Return the first block that a change at a site touches."""
        site = self.site(path)
        if path == "final" and self.n_layers:
            return self.n_layers - 1
        return site.layer or 0

    def refuse_skipped(self, paths: Sequence[str], restart: Restart | None) -> None:
        """Refuse sites that a restarted forward pass does not come by.

        Raises:
            PatchclampError: a site before the layer of the restart.
        """
        skipped = [path for path in paths if restart is not None and self.first_layer(path) < restart.layer]
        if skipped:
            raise PatchclampError(
                expected="sites that run after a restart",
                got=f"{skipped[0]}, which it skips",
                remedy="Run without `restart`.",
            )
