"""The JSON Schemas of what comes in and goes out beside the API, as docs/schemas has them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import orjson
from pydantic import BaseModel

from crewline import locations
from crewline.models.intake import EventMapping, Message
from crewline.models.lifecycles import RunEvent

FOLDER: Final = locations.ROOT / "docs" / "schemas"
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "intake-message": Message,
    "event-mapping": EventMapping,
    "run-event": RunEvent,
}
"""Name of a file → what it describes."""


def spelled() -> Iterator[tuple[str, bytes]]:
    """Spell the schemas: name of a file, and its content."""
    for name, model in SCHEMAS.items():
        schema: dict[str, Any] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(),
        }
        for field, text in _docstrings(model):
            schema["properties"][field]["description"] = text
        yield f"{name}.json", orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write() -> None:
    """Write the schemas into the checkout."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in spelled():
        (FOLDER / name).write_bytes(content)


def _docstrings(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Read what stands below each field, here and not by pydantic: reading sources takes every cold start's time."""
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(one))).body
            for line, below in pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
                match line, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=field)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        yield field, inspect.cleandoc(text)


if __name__ == "__main__":
    write()
