"""A network as a table of its sites."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from patchclamp.core.plain_names import name_site
from patchclamp.core.table import Table, Tabular


class SiteTable(Tabular):
    """Give a network its line, where it comes from, and its table of sites."""

    name: str
    module: Any
    sites: Any
    origin: Mapping[str, str] = MappingProxyType({})
    """Commits of the hub's repositories that it was fetched from, by what they hold."""

    def table(self, top: int | None = None) -> Table:
        """Return the sites as a table: name in words, path, shape, and whether units there can be clamped."""
        found = self.sites()
        title = f"{self.name}, {type(self.module).__name__}, {len(found)} sites"
        rows = tuple((name_site(one.path), one.path, one.describe(), one.writable) for one in found[:top])
        return Table(title, ("site", "path", "shape", "can be clamped"), rows, len(found))
