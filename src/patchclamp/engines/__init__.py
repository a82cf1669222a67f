"""Where the pieces of a plan are computed: in this process, or by Ray on as many machines as it has."""

from patchclamp.engines.choose import ENGINES, open_engine, refuse_engine
from patchclamp.engines.engine import Engine, Serial
from patchclamp.engines.fold import Foldable, Part, fold
from patchclamp.engines.plan import Piece, Start, cut_pieces

__all__ = [
    "ENGINES",
    "Engine",
    "Foldable",
    "Part",
    "Piece",
    "Serial",
    "Start",
    "cut_pieces",
    "fold",
    "open_engine",
    "refuse_engine",
]
