"""First recipes: what a data file's columns seem to hold, and a commented recipe that trains on them."""
