"""Models whose weights have 4 or 8 bits.

places.py     the weights of a model that can be quantised, as matrices
rounding.py   a matrix to codes and scales
modules.py    modules that store codes instead of a weight
quantise.py   a whole model
"""
