"""Reads the answer in a response: where it stands, what kind of thing it is, and whether two are equal."""
