"""What runs inside the sandboxes of the `code` verifier: a candidate's program in one, its tests in another.

The two share a socket and nothing else. The tests ask the candidate's process for values and compare them on their own
side, with interpreters, names and expectations that the candidate's code cannot reach: whatever it prints, patches,
exits or answers, it can only supply values. Only the standard library is imported here, as little of it as will do.
"""
