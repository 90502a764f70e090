"""What weights of 8 and 4 bits save and cost, with the parity and the loss of each row.

variants.py   the bundles that are compared     rows.py    their rows, and the table of docs
losses.py     trained models, on their data     speed.py   GPT-2's shape, compared with CTranslate2
"""
