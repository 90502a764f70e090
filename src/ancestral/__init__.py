"""A likelihood model keeps its probabilities, from PyTorch to every backend that samples it."""

from pathlib import Path

__all__ = ["__version__"]

__version__ = "0.1.0"


def _check_links(package: Path) -> None:
    """Refuse a checkout whose links came out as plain files, or not at all.

    Raises:
        ImportError: one of the four folders is no directory; the message says how to mend it.
    """
    folders = ("train", "export", "engine", "triton_kernels")
    missing = [folder for folder in folders if not (package / folder).is_dir()]
    if missing:
        raise ImportError(
            f"expected directories (or links to them) in {package}, got none for"
            f" {', '.join(missing)}: this checkout has no symbolic links. In its root run"
            " 'git config core.symlinks true && git checkout -- src/ancestral'"
            " (Linux and macOS are supported)"
        )


_check_links(Path(__file__).parent)
