"""Reads what a run learns from: prompts from files, hubs and tasks, the text of a chat, and the order prompts come
in."""
