"""Tools that come with the library, a module each: a function of the tool's name, and `TAG`, the tag that calls it."""
