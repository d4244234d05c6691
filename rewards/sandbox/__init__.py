"""Runs model-written programs where they can harm nothing."""
