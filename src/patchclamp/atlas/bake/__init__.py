"""Its base from a model and a text, and layers of features from dictionaries."""
