"""KServe's inference protocol, version 2, over HTTP, with the extension for binary tensors.

    body ─► protocol.py (JSON) ─► tensors.py (arrays) ─► methods.py (the engine) ─► answer.py

Each method of a bundle is a model of the protocol: `digits.sample`, `digits.log_prob`.
"""
