"""The networks that lie in the rig; torch lives here."""
