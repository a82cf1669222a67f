"""Words about a unit, with the evidence that the words were made from."""

from dataclasses import dataclass, field

from patchclamp.core.arguments import checked
from patchclamp.core.estimate import Estimate
from patchclamp.core.unit import UnitKey


@checked
@dataclass(frozen=True)
class Description:
    """Put words on a unit, saying who wrote them and from what.

    Args:
        unit: the unit described.
        text: the words.
        author: ``rule``, ``model`` or ``person``, with name and version (``rule/top-token 1``).
        evidence: ids of the stimuli the author was shown, in order.
        scores: how well the words hold, each with its measure as unit.

    Example:
        >>> Description(UnitKey("blocks.0.mlp.act", 7), "fires on cats", "person/ada").unit.index
        7
    """

    unit: UnitKey
    text: str
    author: str
    evidence: tuple[str, ...] = ()
    scores: tuple[Estimate, ...] = field(default_factory=tuple)
