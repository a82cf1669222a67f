"""What is measured of each noun that a method gives: one file per noun, named after it."""
