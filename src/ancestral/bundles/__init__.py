"""Bundles on disk: the manifest, and the checks of the files against it."""
