"""The nouns, in numpy; no network framework is imported here."""
