"""Where the demo's text comes from."""

import sys
from pathlib import Path

import pytest

from keepdb.cli.demonstration.checking import canaries, search_files
from keepdb.cli.demonstration.docstrings import documents_of, read_documents, source_roots
from keepdb.cli.demonstration.writing import Written, commits_of

SOURCE = '''"""Module."""
class A:
    """Class."""
    async def b(self):
        """Method."""
        def c():
            """Inner."""
if True:
    def d():
        """Conditional."""
def e():
    x = "no docstring"
def f():
    "\\ud800"
'''


def ignore(done: int, total: int) -> None:
    """Nobody watches the progress."""


def test_docstrings_are_found_at_every_level_with_dotted_names(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    file = tmp_path / "pkg" / "__init__.py"
    file.write_text(SOURCE)

    found = [(one.name, one.kind, one.text) for one in documents_of(tmp_path, file)]

    assert found == [
        ("pkg", "module", "Module."),
        ("pkg.A", "class", "Class."),
        ("pkg.A.b", "function", "Method."),
        ("pkg.A.b.c", "function", "Inner."),
        ("pkg.d", "function", "Conditional."),
    ]


@pytest.mark.parametrize("source", [b"def (", b"\x00", b"\xff\xfe", b"(" * 5000])
def test_a_source_that_does_not_parse_is_passed_over(tmp_path: Path, source: bytes) -> None:
    file = tmp_path / "broken.py"
    file.write_bytes(source)

    assert list(documents_of(tmp_path, file)) == []


def test_sources_are_read_and_never_imported() -> None:
    before = set(sys.modules)

    documents = read_documents(300, ignore)

    assert len(documents) == 300
    assert not {document.package for document in documents} & (set(sys.modules) - before)
    assert (source_roots()[0] / "os.py").exists()


def test_a_persona_is_made_once_and_before_its_documents() -> None:
    written = Written()
    documents = read_documents(300, ignore)
    seen: set[str] = set()

    for events, of in commits_of(documents, written):
        for event, document in zip(events, of, strict=True):
            if document is None:
                assert event.id is not None
                assert event.id not in seen
                seen.add(event.id)
            else:
                assert event.data["personaId"] in seen

    assert written.personas == len(seen) == len({document.package for document in documents})


def test_plain_text_is_found_where_it_is(tmp_path: Path) -> None:
    """The search must be able to fail, also across two blocks of reading."""
    documents = read_documents(300, ignore)
    needles = canaries(documents)
    (tmp_path / "clean.db").write_bytes(b"\x00" * 10_000)
    (tmp_path / "leak.db").write_bytes(b"\x00" * (8 * 1024 * 1024 - 10) + needles[0] + b"\x00")

    files, _, hits = search_files([tmp_path], needles)

    assert (files, hits) == (2, ["leak.db"])
