"""The JSON Schemas of what comes in and goes out beside the API, as docs/schemas has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import orjson
from pydantic import BaseModel

from crewline import locations
from crewline.models.intake import EventMapping, Message

FOLDER: Final = locations.ROOT / "docs" / "schemas"
SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {"intake-message": Message, "event-mapping": EventMapping}
"""Name of a file → what it describes."""


def spelled() -> Iterator[tuple[str, bytes]]:
    """Spell the schemas: name of a file, and its content."""
    for name, model in SCHEMAS.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(by_alias=True),
        }
        yield f"{name}.json", orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def write() -> None:
    """Write the schemas into the checkout."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in spelled():
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    write()
