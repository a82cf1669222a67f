"""Atlas: what was found, as a folder to keep and pages to look at."""
