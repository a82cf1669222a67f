"""What makes an atlas: its base from a model and a text, and layers of features from dictionaries."""
