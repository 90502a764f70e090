"""Model families, and the programs that are exported from them."""
