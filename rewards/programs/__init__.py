"""Reads programs in responses, and the tests that data sets give for them."""
