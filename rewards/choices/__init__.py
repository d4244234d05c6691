"""Reads which option of a multiple-choice question an answer chooses, in many languages."""
