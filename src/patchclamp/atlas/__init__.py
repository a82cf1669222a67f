"""What was found, as a folder to keep and pages to look at.

``open`` reads one; ``bake_atlas`` and ``bake_recording`` make one; ``add_basis``, ``describe``, ``write_comparison``,
``write_descriptions``, ``write_graph`` and ``write_notes`` add to it.
``show`` puts a unit's page into a notebook, ``to_html`` makes a document of it, and ``export_atlas`` writes what
others read.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Asked": ("serve.screens.find", "Asked"),
    "Atlas": ("atlas", "Atlas"),
    "Note": ("store.notes", "Note"),
    "add_basis": ("bake.features", "add_basis"),
    "bake_atlas": ("bake.base", "bake_atlas"),
    "bake_recording": ("bake.recordings", "bake_recording"),
    "describe": ("description_layer", "describe"),
    "export_atlas": ("export", "export_atlas"),
    "open": ("atlas", "open_atlas"),
    "plan_description": ("description_layer", "plan"),
    "serve_atlas": ("serve.server", "serve"),
    "show": ("notebook", "show"),
    "to_html": ("export.page", "to_html"),
    "write_comparison": ("store.layers", "write_comparison"),
    "write_descriptions": ("store.layers", "write_descriptions"),
    "write_graph": ("store.layers", "write_graph"),
    "write_notes": ("written", "write_notes"),
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from patchclamp.atlas.atlas import Atlas as Atlas
    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.atlas.bake.base import bake_atlas as bake_atlas
    from patchclamp.atlas.bake.features import add_basis as add_basis
    from patchclamp.atlas.bake.recordings import bake_recording as bake_recording
    from patchclamp.atlas.description_layer import describe as describe
    from patchclamp.atlas.description_layer import plan
    from patchclamp.atlas.export import export_atlas as export_atlas
    from patchclamp.atlas.export.page import to_html as to_html
    from patchclamp.atlas.notebook import show as show
    from patchclamp.atlas.serve.screens.find import Asked as Asked
    from patchclamp.atlas.serve.server import serve
    from patchclamp.atlas.store.layers import write_comparison as write_comparison
    from patchclamp.atlas.store.layers import write_descriptions as write_descriptions
    from patchclamp.atlas.store.layers import write_graph as write_graph
    from patchclamp.atlas.store.notes import Note as Note
    from patchclamp.atlas.written import write_notes as write_notes

    open = open_atlas
    plan_description = plan
    serve_atlas = serve


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'patchclamp.atlas' has no attribute {name!r}")
    home, attribute = _HOME[name]
    return getattr(importlib.import_module(f"patchclamp.atlas.{home}"), attribute)
