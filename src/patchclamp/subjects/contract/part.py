"""One law of the contract, the stimuli that it is checked on, and the verdict of a check."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from patchclamp.core.site import Site

Family = Any
"""A family of text or of images."""


@dataclass(frozen=True)
class Part:
    """One law of the contract.

    Args:
        name: the law in a few words.
        check: yields how far the subject is from the law, in its own scale; infinite where it breaks outright.
        limit: largest deviation that passes, in float32; other dtypes scale it by their precision, see ``coarsest``.
        make_wrong: makes of a family's mapping the wrong one that the law must reject.
        coarsest: largest limit in any dtype: half precision rounds by less, and a wrong mapping is further off.
    """

    name: str
    check: Callable[[Any], Iterator[float]]
    limit: float
    make_wrong: Callable[[Family], Family]
    coarsest: float = 0.1

    def limit_in(self, precision: float) -> float:
        """Return the limit in a dtype whose precision is so many times that of float32."""
        return min(self.limit * precision, self.coarsest)


@dataclass(frozen=True)
class Verdict:
    """What one check gave.

    Args:
        name: what was checked.
        deviation: how far from the law.
        limit: how far is allowed; None where the figure is stated, not judged.
        rejected: first deviation of the wrong mapping above the limit, else its worst; None where none was tried.
        excluded: why the check does not apply, where it does not; the deviation is then NaN.
    """

    name: str
    deviation: float
    limit: float | None
    rejected: float | None = None
    excluded: str = ""

    @property
    def passed(self) -> bool:
        """Whether the law holds and the wrong mapping broke it, or the check does not apply."""
        if self.excluded:
            return True
        holds = self.limit is None or self.deviation <= self.limit
        return holds and (self.rejected is None or self.limit is None or not self.rejected <= self.limit)


@dataclass(frozen=True)
class AttentionRule:
    """How one attention module makes its pattern of q and k.

    Args:
        layer: which block.
        scale: factor of q · kᵀ.
        cap: soft cap of the scores, or None.
        hidden: number of positions to ``(position, source)``, True where a position does not see the source.
        bias: number of positions to what is added to the scaled scores, ``(head, position, source)``, or None.
        sinks: ``(head,)`` score that every query meets beside those of the positions, or None.
    """

    layer: int
    scale: float
    cap: float | None
    hidden: Callable[[int], Tensor]
    bias: Callable[[int], Tensor | None] = lambda n: None
    sinks: Tensor | None = None


@dataclass(frozen=True)
class Probe:
    """Hold random stimuli as one batch of a subject, and what the shared laws need to know of their kind.

    Args:
        model: the subject.
        stimuli: what it is shown.
    """

    model: Any
    stimuli: Sequence[Any]

    @property
    def family(self) -> Family:
        """The family that names the subject's sites."""
        assert self.model.family is not None
        return self.model.family

    def run(self, **options: Any) -> Any:
        """Show the stimuli in the rig."""
        return self.model.run(list(self.stimuli), **options)

    def logits(self, **options: Any) -> Tensor:
        """Return a run's ``(row, class)`` logits."""
        return self.rows(self.run(**options).logits)

    def rows(self, logits: Tensor) -> Tensor:
        """Return a run's logits as ``(row, class)``."""
        return logits

    def bare(self) -> Tensor:
        """Return the bare network's ``(row, class)`` logits, called as its own documentation says."""
        raise NotImplementedError

    def answer(self, final: Tensor) -> Tensor:
        """Return the ``(row, class)`` logits that follow from what was recorded at ``final``."""
        raise NotImplementedError

    def attention_rules(self) -> Iterator[AttentionRule]:
        """Yield how every attention module makes its pattern."""
        raise NotImplementedError

    @property
    def inner_site(self) -> str:
        """A site in the middle of the network."""
        raise NotImplementedError

    def places(self, site: Site) -> list[tuple[int, int]]:
        """Return stimulus and position of the changes to try at a site, until one has an effect."""
        raise NotImplementedError

    def columns(self, site: Site) -> int:
        """Return how many sources a site's pattern has in the batch."""
        raise NotImplementedError

    def column(self, stimulus: int, position: int) -> int:
        """Return where a position lies in the batch as the bare network has it."""
        return position

    def values_at(self, x: Tensor, site: Site, stimulus: int, column: int) -> Tensor:
        """Return a view of the module's own tensor at one column of one stimulus.

        Returns:
            Tensor: ``(width,)``, a view: writing to it changes the tensor.
        """
        raise NotImplementedError

    def rows_unmoved(self, stimulus: int, position: int) -> list[bool]:
        """Return which rows of the logits a change at one position of one stimulus must not move."""
        raise NotImplementedError

    def rounding(self, logits: Tensor) -> float:
        """Return what the logits of other rows may differ by after a change."""
        return 0.0


@dataclass(frozen=True)
class Kind:
    """What the contract has to know of one kind of stimulus.

    Args:
        subject: class of the subjects that are shown it.
        probes: subject to the batches that every law is checked on.
        parts: the laws, in order.
        read_only: numbers of the laws that ``verify`` checks on any model of a family.
        without_family: numbers of the laws that ``verify`` checks where no family covers the model.
        equalities: further checks by name, each with its limit, of max |Δlogit| on one batch; attention is needed.
        family_names: the families of this kind.
        family: name to family.
        wrap: a module and its family to the subject.
    """

    subject: type
    probes: Callable[[Any], Sequence[Probe]]
    parts: tuple[Part, ...]
    read_only: tuple[int, ...]
    without_family: tuple[int, ...]
    equalities: Mapping[str, tuple[Callable[[Probe], float], float | None]]
    family_names: Callable[[], tuple[str, ...]]
    family: Callable[[str], Family]
    wrap: Callable[[Any, Family], Any]
