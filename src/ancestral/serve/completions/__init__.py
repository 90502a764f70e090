"""OpenAI's completions and models, for bundles with text.

    body ─► plan ─► rows in slots ─► deltas ─► parts of choices ─► one answer, or chunks

An answer is its chunks, joined: a stream and an answer have the same texts and numbers.
"""

from ancestral.serve.completions.body import CompletionRequest
from ancestral.serve.completions.models import router as models
from ancestral.serve.completions.routes import router as completions

ROUTERS = (completions, models)

__all__ = ["ROUTERS", "CompletionRequest"]
