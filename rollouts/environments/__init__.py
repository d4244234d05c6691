"""Environments that answer what the policy writes: tools, and functions of the user's."""
