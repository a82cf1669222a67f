"""The files of an atlas: SQLite, layers and records of runs, each written whole."""
