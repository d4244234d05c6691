"""The workbench of people who design rewards: try a verifier on cases, attack it, judge a finished run with another."""
