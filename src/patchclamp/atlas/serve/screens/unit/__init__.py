"""What one unit does, its examples, and its activations along a text that a user typed."""

from typing import Annotated

from fastapi import FastAPI, Query

from patchclamp.atlas.lab.messages import Trial
from patchclamp.atlas.read.attention import AttentionPage
from patchclamp.atlas.serve.screens.unit.examples import Examples, Kind, examples
from patchclamp.atlas.serve.screens.unit.head import example_attention
from patchclamp.atlas.serve.screens.unit.page import UnitPage, unit_page
from patchclamp.atlas.serve.served import Number, Served

MOST_EXAMPLES, LONGEST_TEXT = 50, 2000


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of units."""

    @app.get("/api/units/{key:path}/examples", operation_id="readExamples")
    def read_examples(
        key: str,
        kind: Kind = "top",
        low: Number = None,
        high: Number = None,
        limit: Annotated[int, Query(ge=1, le=MOST_EXAMPLES)] = 20,
    ) -> Examples:
        """Read examples of one kind; ``low`` and ``high`` belong to ``kind=interval``, both ends included."""
        return examples(served.atlas(), key, kind, low, high, limit)

    @app.get("/api/units/{key:path}/attention", operation_id="readExampleAttention")
    def read_example_attention(
        key: str, kind: Kind = "top", rank: Annotated[int, Query(ge=0, lt=2**31)] = 0
    ) -> AttentionPage:
        """Read an attention head's pattern along one of its examples, where it was kept."""
        return example_attention(served.atlas(), key, kind, rank)

    @app.get("/api/units/{key:path}/trial", operation_id="tryText")
    def try_text(key: str, text: Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT)]) -> Trial:
        """Show the unit a text of one's own; only where the server has a model attached."""
        return served.model().trial(served.atlas(), key, text)

    @app.get("/api/units/{key:path}", operation_id="readUnit")
    def read_unit(key: str) -> UnitPage:
        """Unit: what does it do, and how sure are we?"""
        return unit_page(served.atlas(), key)
