"""Pages: what the atlas answers with, one frozen dataclass per answer.

The server gives them as they stand, its OpenAPI schema is made from them, and the browser's types from that schema. A
number that is NaN or infinite is None here, for JSON has none.
"""

from patchclamp.atlas.pages.find import Sort as Sort
from patchclamp.atlas.pages.find import UnitList as UnitList
from patchclamp.atlas.pages.find import UnitRow as UnitRow
from patchclamp.atlas.pages.graph import EdgeRow as EdgeRow
from patchclamp.atlas.pages.graph import GraphList as GraphList
from patchclamp.atlas.pages.graph import GraphPage as GraphPage
from patchclamp.atlas.pages.graph import NodeRow as NodeRow
from patchclamp.atlas.pages.home import AtlasPage as AtlasPage
from patchclamp.atlas.pages.home import CorpusView as CorpusView
from patchclamp.atlas.pages.home import LayerRow as LayerRow
from patchclamp.atlas.pages.home import RunList as RunList
from patchclamp.atlas.pages.home import RunPage as RunPage
from patchclamp.atlas.pages.home import RunRow as RunRow
from patchclamp.atlas.pages.home import SiteRow as SiteRow
from patchclamp.atlas.pages.home import SubjectView as SubjectView
from patchclamp.atlas.pages.lab import ClampAsked as ClampAsked
from patchclamp.atlas.pages.lab import Clamped as Clamped
from patchclamp.atlas.pages.lab import Control as Control
from patchclamp.atlas.pages.lab import Finished as Finished
from patchclamp.atlas.pages.lab import LabPage as LabPage
from patchclamp.atlas.pages.lab import LabRun as LabRun
from patchclamp.atlas.pages.lab import NextToken as NextToken
from patchclamp.atlas.pages.lab import Progressed as Progressed
from patchclamp.atlas.pages.lab import Queued as Queued
from patchclamp.atlas.pages.lab import RankedBy as RankedBy
from patchclamp.atlas.pages.lab import RankedUnit as RankedUnit
from patchclamp.atlas.pages.lab import Ranking as Ranking
from patchclamp.atlas.pages.lab import Refused as Refused
from patchclamp.atlas.pages.lab import RunAsked as RunAsked
from patchclamp.atlas.pages.lab import Step as Step
from patchclamp.atlas.pages.lab import Table as Table
from patchclamp.atlas.pages.lab import Tokens as Tokens
from patchclamp.atlas.pages.lab import Verified as Verified
from patchclamp.atlas.pages.lab import VerifyAsked as VerifyAsked
from patchclamp.atlas.pages.parts import ConceptScore as ConceptScore
from patchclamp.atlas.pages.parts import GraphRow as GraphRow
from patchclamp.atlas.pages.parts import Problem as Problem
from patchclamp.atlas.pages.parts import Refusal as Refusal
from patchclamp.atlas.pages.parts import ScoreView as ScoreView
from patchclamp.atlas.pages.parts import Source as Source
from patchclamp.atlas.pages.parts import TokenView as TokenView
from patchclamp.atlas.pages.parts import TokenWeight as TokenWeight
from patchclamp.atlas.pages.unit import DescriptionView as DescriptionView
from patchclamp.atlas.pages.unit import Example as Example
from patchclamp.atlas.pages.unit import Examples as Examples
from patchclamp.atlas.pages.unit import Histogram as Histogram
from patchclamp.atlas.pages.unit import Kind as Kind
from patchclamp.atlas.pages.unit import KindCount as KindCount
from patchclamp.atlas.pages.unit import Neighbour as Neighbour
from patchclamp.atlas.pages.unit import Quantile as Quantile
from patchclamp.atlas.pages.unit import Statistics as Statistics
from patchclamp.atlas.pages.unit import Trial as Trial
from patchclamp.atlas.pages.unit import UnitPage as UnitPage
