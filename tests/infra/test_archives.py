import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from crewline.errors import BadDeployment
from crewline_cdk.archives import Archive, fingerprint, make_archive
from crewline_cdk.interpreters import Interpreter, find_interpreter

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
UNCHECKED = (1).to_bytes(4, "little")
"""The flags of bytecode that is read without a look at its source (PEP 552)."""


@pytest.fixture(scope="module")
def interpreter() -> Interpreter:
    found = find_interpreter(MINOR)
    assert found is not None
    return found


def filled(**files: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return fill


def test_what_is_python_is_compiled_such_that_its_source_is_never_looked_at(
    tmp_path: Path, interpreter: Interpreter
) -> None:
    fill = filled(
        python__crew="no suffix", **{"python__crew.py": "x = 1", "python__form.py": "class {{ name }}:"}
    )

    made = make_archive("Layer", tmp_path, fill, interpreter=interpreter)

    with zipfile.ZipFile(made.path) as archive:
        names = set(archive.namelist())
        compiled = f"python/__pycache__/crew.{sys.implementation.cache_tag}.pyc"
        assert names == {"python/crew", "python/crew.py", "python/form.py", compiled}
        content = archive.read(compiled)
    assert content[:4].hex() == interpreter.magic
    assert content[4:8] == UNCHECKED
    assert b"/opt/python/crew.py" in content


def test_the_digest_is_of_names_and_contents_and_of_what_compiled_them(
    tmp_path: Path, interpreter: Interpreter
) -> None:
    def digest(fill: Callable[[Path], None], by: Interpreter | None = None) -> str:
        return make_archive("Layer", tmp_path, fill, interpreter=by).digest

    def late(folder: Path) -> None:
        filled(a="1", b="2")(folder)
        os.utime(folder / "a", (0, 0))
        (folder / "b").chmod(0o755)
        (folder / "empty").mkdir()

    first = digest(filled(a="1", b="2"))

    assert digest(filled(b="2", a="1")) == digest(late) == first
    others = [
        digest(filled(a="1", b="3")),
        digest(filled(a="1", c="2")),
        digest(filled(a="1", b="2"), interpreter),
        digest(filled(a="1", b="2"), Interpreter(interpreter.path, "00000000")),
    ]
    assert len({first, *others}) == 5


def test_what_is_made_from_the_same_is_made_once(tmp_path: Path) -> None:
    calls = []

    def fill(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text("1")

    first = make_archive("Layer", tmp_path, fill, interpreter=None, made_from="lock")
    again = make_archive("Layer", tmp_path, fill, interpreter=None, made_from="lock")
    other = make_archive("Layer", tmp_path, fill, interpreter=None, made_from="other lock")

    assert first == again != other
    assert len(calls) == 2


def test_a_layer_that_cannot_be_filled_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").write_text("")
        raise BadDeployment("No.")

    with pytest.raises(BadDeployment):
        make_archive("Layer", tmp_path, fill, interpreter=None, made_from="lock")
    assert list(tmp_path.iterdir()) == []


def test_programs_stay_executable(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        filled(start="#!/bin/sh", text="")(folder)
        (folder / "start").chmod(0o700)

    made = make_archive("Layer", tmp_path, fill, interpreter=None)

    with zipfile.ZipFile(made.path) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes == {"start": 0o100755, "text": 0o100644}


def test_packages_are_weighed_by_their_folder(tmp_path: Path) -> None:
    made = make_archive(
        "Layer",
        tmp_path,
        filled(
            **{"python__big__a.py": "12345", "python__big__b__c.py": "67", "python__six.py": "1"},
            project__x="89",
        ),
        interpreter=None,
    )

    assert Archive(made.path, "").packages() == {"big": 7, "six.py": 1, "project": 2}


def test_files_are_hashed_by_content(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    filled(ab="c")(tmp_path / "one")
    filled(a="bc")(tmp_path / "two")

    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "two")
