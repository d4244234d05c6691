"""A conversation with a model in the terminal, on an engine in this process."""
