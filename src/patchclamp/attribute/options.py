"""Options that the methods of this room share, and the levels that they score."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from patchclamp.core.options import option

UnitLevel = Literal["node", "neuron", "feature"]
Level = Literal["node", "neuron", "feature", "edge"]
Direction = Literal["noise", "denoise"]


@dataclass(frozen=True)
class UnitOptions:
    """Options of a method that scores units."""

    level: UnitLevel = option("neuron", "what is scored: node (embedding, heads, MLPs), neuron or feature")
    direction: Direction = option("noise", "which run is patched into: the clean one, or the other")
    by_position: bool = option(False, "score every position by itself; always so with one case")

    @property
    def scope(self) -> dict[str, Any]:
        """The arguments of ``score_task`` that these options name."""
        return {"level": self.level, "direction": self.direction, "by_position": self.by_position}


@dataclass(frozen=True)
class UnitOrEdgeOptions(UnitOptions):
    """Options of a method that scores units or edges."""

    level: Level = option(  # type: ignore[assignment]
        "neuron", "what is scored: node (embedding, heads, MLPs), neuron, feature or edge"
    )


@dataclass(frozen=True)
class EdgeOptions:
    """Options of a method that scores edges."""

    LEVEL: ClassVar[Level] = "edge"
    direction: Direction = option("noise", "which run is patched into: the clean one, or the other")
    by_position: bool = option(False, "score every position by itself")

    @property
    def scope(self) -> dict[str, Any]:
        """The arguments of ``score_task`` that these options name."""
        return {"level": self.LEVEL, "direction": self.direction, "by_position": self.by_position}
