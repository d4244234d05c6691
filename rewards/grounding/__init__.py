"""Check claims about sound against measurements of the sound itself."""
