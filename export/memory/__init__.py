"""Keep the memory of an export of a large model low."""
