"""Weights of 4 and 8 bits under a budget: the fewest bytes whose loss in nats is accepted.

split.py         data in two halves: one to search on, one to measure on
calibration.py   nats of the first half under a PyTorch model
replay.py        forwards that reuse what a changed weight cannot change
sensitivity.py   cost of each weight in each form, the others unchanged
feedback.py      rounding that follows the inputs of maps
forms.py         forms of a weight, and the bytes of each
choice.py        from the cheapest bytes to the smallest loss, by nats saved per byte
search.py        the smallest plan within a budget
pareto.py        bytes, nats and milliseconds of a few plans
budget.py        a bundle within a budget
"""
