"""Measures claims about sound on the sound itself."""
