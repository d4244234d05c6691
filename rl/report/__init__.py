"""Readers of a finished or running run: the report page, tables for a terminal, comparisons."""
