"""Laws that tie a family's sites to the bare network, and for each a wrong mapping that it must reject."""
