"""Replace sets of units, edges, positions or regions, and measure the metric."""

from patchclamp.ablate.baseline import Baseline, check_means
from patchclamp.ablate.cases import Cases, Turn
from patchclamp.ablate.edges import EdgeSets
from patchclamp.ablate.engine import Sets, count_rows, measure_changes, measure_sets
from patchclamp.ablate.regions import RegionSets
from patchclamp.ablate.units import First, Row, UnitSets, locate_units

__all__ = [
    "Baseline",
    "Cases",
    "EdgeSets",
    "First",
    "RegionSets",
    "Row",
    "Sets",
    "Turn",
    "UnitSets",
    "check_means",
    "count_rows",
    "locate_units",
    "measure_changes",
    "measure_sets",
]
