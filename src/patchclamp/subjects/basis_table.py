"""The bases that a network knows by name, everywhere or at one site."""

from typing import Any

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.checks import OF_THIS_MODEL, same_subject
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.site_names import resolve_sites
from patchclamp.subjects.site_table import SiteTable


@checked
class BasisTable(SiteTable):
    """Find the basis that a name means, and take in the bases of a dictionary."""

    site: Any
    bases: dict[str, Basis]
    """Bases by name; those of one site by ``SITE/NAME``."""

    def add_basis(self, basis: Basis, site: str | None = None) -> None:
        """Make a basis known by its name, for keys and interventions; at one site, or wherever its width fits.

        Args:
            basis: the basis.
            site: where (default: the basis' own site, or everywhere where it has none).

        Raises:
            PatchclampError: a site that is not there, or of another width.
        """
        site = site or basis.site
        if site is not None:
            count_units(basis, self.site(site))
        self.bases[basis.name if site is None else f"{site}/{basis.name}"] = basis

    def add_dictionary(self, dictionary: Dictionary) -> None:
        """Make every basis of a dictionary known at its site, for keys, interventions and the level ``feature``.

        A dictionary that holds no hash of a model (another library's) is taken where its widths fit; names of places
        that the other library gave become this model's sites.

        Args:
            dictionary: what ``pc.load_basis`` returned.

        Raises:
            PatchclampError: it was made on other weights, names a site or a width that the model has not, or has a name
                that something else at that site has.

        Example:
            >>> import numpy as np
            >>> import torch
            >>> from torch import nn
            >>> from patchclamp.subjects.network import Network
            >>> net = Network(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))
            >>> lab = Basis("lab", "directions", decoder=np.eye(2, dtype=np.float32))
            >>> net.add_dictionary(Dictionary({"module.0.out": lab}, {"slug": net.name, "hash": net.hash}, "by hand"))
            >>> "module.0.out/lab" in net.bases
            True
        """
        same_subject(self, dictionary, what="a basis", remedy=OF_THIS_MODEL, by_name=False)
        dictionary = resolve_sites(self, dictionary)
        for path, basis in dictionary.bases.items():
            site = self.site(path)
            count_units(basis, site)
            known = self.bases.get(f"{path}/{basis.name}", self.bases.get(basis.name))
            if known is not None and known.hash != basis.hash:
                raise PatchclampError(
                    expected=f"a name that nothing else at {path} has",
                    got=f"{basis.name!r}, twice",
                    remedy="Give one of them another name: patchclamp decompose --convert DIR --name NAME --out NEW.",
                )
        for path, basis in dictionary.bases.items():
            self.add_basis(basis, path)

    def basis_at(self, site: str, name: str) -> Basis:
        """Return the basis that a name means at a site.

        Raises:
            PatchclampError: none of that name; the known ones are named.
        """
        basis = self.bases.get(f"{site}/{name}", self.bases.get(name))
        if basis is None:
            raise PatchclampError(
                expected=f"a basis among {', '.join(self.bases)}",
                got=repr(name),
                remedy="Add it with subject.add_dictionary or add_basis; on the command line --basis DIR.",
            )
        return basis
