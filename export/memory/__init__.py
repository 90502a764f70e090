"""How an export of a large model stays within memory."""
