"""Data, rewards and samples to verl and TRL, and samples from them."""
