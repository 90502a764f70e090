"""p(x_i | parameters): log-probabilities and draws, one home for each likelihood."""
