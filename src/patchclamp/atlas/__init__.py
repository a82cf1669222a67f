"""Atlas: what was found, as a folder to keep and pages to look at.

``open`` reads one; ``bake_atlas`` makes one and ``write_descriptions`` and ``write_graph`` add to it.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Asked": ("find", "Asked"),
    "Atlas": ("db", "Atlas"),
    "bake_atlas": ("bake", "bake_atlas"),
    "export_atlas": ("export", "export_atlas"),
    "open": ("db", "open_atlas"),
    "to_html": ("export.page", "to_html"),
    "write_descriptions": ("layers", "write_descriptions"),
    "write_graph": ("layers", "write_graph"),
}

__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from patchclamp.atlas.bake import bake_atlas as bake_atlas
    from patchclamp.atlas.db import Atlas as Atlas
    from patchclamp.atlas.db import open_atlas
    from patchclamp.atlas.find import Asked as Asked
    from patchclamp.atlas.layers import write_descriptions as write_descriptions
    from patchclamp.atlas.layers import write_graph as write_graph

    open = open_atlas


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'patchclamp.atlas' has no attribute {name!r}")
    home, attribute = _HOME[name]
    return getattr(importlib.import_module(f"patchclamp.atlas.{home}"), attribute)
