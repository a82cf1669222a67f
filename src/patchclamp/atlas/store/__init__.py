"""SQLite, layers and records of runs, each written whole."""
