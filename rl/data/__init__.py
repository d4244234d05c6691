"""What a run reads: prompts from files, hubs and tasks; the text of a chat; which prompts are drawn next."""
