"""House style of the project's prose: CONTRIBUTING.md, "Writing"."""
