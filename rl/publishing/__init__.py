"""A trained model as a folder for a hub: weights, recipe and a card that says what was measured."""
