"""Find by text: the units that respond most to one."""

from typing import Annotated

from fastapi import FastAPI, Query

from patchclamp.atlas.lab.messages import LONGEST_KEY
from patchclamp.atlas.lab.text_search import RespondsBy, Responses, search_text
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.store.sqlite_files import DAMAGED
from patchclamp.core.errors import report_damage

LONGEST_SEARCH, MOST_ROWS = 1000, 100


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the address of the search by text."""

    @app.get("/api/lab/search", operation_id="searchText")
    def search(
        text: Annotated[str, Query(min_length=1, max_length=LONGEST_SEARCH)],
        site: Annotated[str, Query(max_length=LONGEST_KEY)] = "",
        by: RespondsBy = "share",
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 20,
    ) -> Responses:
        """Find by text: which units respond most to this, anywhere in it?"""
        lab, atlas = served.model(), served.atlas()
        with report_damage(atlas.folder, DAMAGED):
            lab.check(atlas)
            return search_text(lab, atlas, text, site=site, by=by, limit=limit)
