"""Public sets of questions: how each is read, asked and scored by its own rules."""
