"""Runs inside the sandboxes of the `code` verifier: a candidate's code in one of them, its tests in the other.

The two share a socket and nothing else. The tests ask the candidate's process for values and compare them on their own
side, with interpreters, names and expectations that the candidate's code cannot reach: whatever it prints, patches,
exits or answers, it can only supply values. Only the standard library is imported here, and as little of it as will
do: every import lengthens the start of every sandbox.
"""
