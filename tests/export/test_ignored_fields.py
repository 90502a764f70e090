"""A bundle, and a recast of it, lists the fields of a config.json that were ignored."""

from pathlib import Path

from ancestral.bundles.bundle import Bundle
from ancestral.cli.info import describe
from ancestral.export.bundle import export_bundle
from ancestral.export.recast import recast
from tests.cli.conftest import invoke
from tests.toys import make


def test_ignored_fields(tiny_bundle: Path, tmp_path: Path) -> None:
    exported = export_bundle(
        make("startless"), tmp_path / "out", graphs=("logits",), ignored_fields=("my_note", "stage")
    )
    for bundle in (exported, recast(exported, tmp_path / "recast", "float16")):
        opened = Bundle.open(bundle)
        assert opened.manifest.written_by["ignored fields"] == "my_note, stage"
        document = describe(opened)
        assert document["ignored_fields"] == ["my_note", "stage"]
        assert "ignored fields" not in document["written_by"]
        assert "my_note, stage: fields of the model's config.json" in invoke("info", bundle).out
    assert describe(Bundle.open(tiny_bundle))["ignored_fields"] == []
    assert "ignored" not in invoke("info", tiny_bundle).out
