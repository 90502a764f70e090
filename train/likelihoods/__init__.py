"""Likelihoods p(x | parameters): log-probabilities and draws, one module per likelihood."""
