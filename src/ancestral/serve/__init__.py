"""Serve bundles over HTTP: OpenAI's completions, KServe's inference, and the Python API as JSON.

    bundle ─► EngineThread (slots, one thread) ─► Rows ─► a route ─► the client

The event loop parses headers and sends what is drawn. Requests are drawn by one thread for each
bundle, other calls run in one thread for each bundle, and bodies are parsed in a pool of threads.
"""

from ancestral.serve.app import create_app
from ancestral.serve.settings import Settings

__all__ = ["Settings", "create_app"]
