"""Language organisms: two small models that know one labelled world."""
