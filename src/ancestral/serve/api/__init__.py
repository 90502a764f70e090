"""/v1/ancestral: the methods of the engines as JSON, with the names of their arguments and results.

body ─► arguments ─► slots, or the thread of the bundle's calls ─► fields ─► JSON, or events
"""
