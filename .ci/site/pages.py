"""Pages of the docs site that are made when it is built: what the code says of itself, and the files at the root.

A hook of MkDocs (https://www.mkdocs.org/user-guide/configuration/#hooks).
"""

import html
import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).resolve().parents[2]
API = ROOT / "layers" / "core" / "python" / "crewline" / "http" / "openapi.json"
ANSWERED_EVERYWHERE = ("default", "503")
"""What every route may answer, said once."""

AT_ROOT = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md"}
GENERATED = "generated"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is made here to the pages."""
    for name, text in {"cli.md": commands(), "api.md": routes(json.loads(API.read_bytes()))}.items():
        files.append(File.generated(config, f"{GENERATED}/{name}", content=text))
    for source, name in AT_ROOT.items():
        text = (ROOT / source).read_text().replace("](docs/", "](../")
        for other, page in AT_ROOT.items():
            text = text.replace(f"]({other}", f"]({page}")
        text = re.sub(r"\[([^\]]+)\]\(LICENSE\)", r"\1", text)
        files.append(File.generated(config, f"{GENERATED}/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to files at the root to the pages that are made of them."""
    for source, name in AT_ROOT.items():
        markdown = re.sub(rf"\]\(((?:\.\./)+){re.escape(source)}", _deeper(page, name), markdown)
    return markdown


def _deeper(page: Any, name: str) -> str:
    """Spell the way from a page to one that is made here."""
    return f"]({'../' * page.file.src_uri.count('/')}{GENERATED}/{name}"


def commands() -> str:
    """Describe every command, from the command line's own help."""
    program = (
        "-m",
        "typer",
        "crewline.cli.main",
        "utils",
        "docs",
        "--name",
        "crewline",
        "--title",
        "Every command",
    )
    done = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=True)
    return done.stdout


def routes(document: Mapping[str, Any]) -> str:
    """Describe every route, from the OpenAPI document that the service answers with."""
    lines = [
        "# Every HTTP route",
        "",
        document["info"]["description"],
        "",
        "A service answers with this as an OpenAPI document, too: `GET /openapi.json`, and `GET /docs` to try it.",
        "",
    ]
    groups: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(_group(path), []).append((method.upper(), path, operation))
    for group, operations in sorted(groups.items()):
        lines += [f"## {group}", ""]
        for method, path, operation in operations:
            lines += [f"### {method} {path}", "", *_route(operation), ""]
    lines += ["## Bodies", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [f"### {name}", "", *_schema(schema), ""]
    return "\n".join(lines)


def _group(path: str) -> str:
    parts = path.split("/")
    return f"/v1/{parts[2]}" if parts[1] == "v1" else f"/{parts[1]}"


def _route(operation: Mapping[str, Any]) -> Iterator[str]:
    yield operation["summary"]
    scopes = {scope for way in operation.get("security", ()) for needed in way.values() for scope in needed}
    yield ""
    yield f"Needs a key with the scope `{scopes.pop()}`." if scopes else "Needs no key."
    if parameters := operation.get("parameters"):
        yield from ("", "| parameter | in | type | |", "|---|---|---|---|")
        for one in parameters:
            needed = "needed. " if one.get("required") and one["in"] != "path" else ""
            text = needed + one.get("description", "")
            yield f"| `{one['name']}` | {one['in']} | {_type(one['schema'])} | {_cell(text)} |"
    if body := operation.get("requestBody"):
        yield from ("", f"Body: {_type(_content(body))}")
    yield from ("", "| answers | |", "|---|---|")
    for status, answer in operation["responses"].items():
        if status not in ANSWERED_EVERYWHERE:
            schema = _content(answer)
            shown = f"{_type(schema)} " if schema and status < "400" else ""
            yield f"| {status} | {shown}{_cell(answer['description'])} |"


def _content(part: Mapping[str, Any]) -> Mapping[str, Any]:
    for content in part.get("content", {}).values():
        schema: Mapping[str, Any] = content.get("schema", {})
        return schema
    return {}


def _schema(schema: Mapping[str, Any]) -> Iterator[str]:
    if text := schema.get("description"):
        yield from (text.split("\n\n")[0].replace("\n", " "), "")
    if not (properties := schema.get("properties")):
        yield _type(schema)
        return
    yield from ("| field | type | |", "|---|---|---|")
    required = set(schema.get("required", ()))
    for name, one in properties.items():
        text = ("needed. " if name in required else "") + one.get("description", "")
        if one.get("default") is not None and one["default"] != {}:
            text += f" `{json.dumps(one['default'])}` when absent."
        yield f"| `{name}` | {_type(one)} | {_cell(text)} |"


def _type(schema: Mapping[str, Any]) -> str:
    """Spell a type in a few words."""
    if ref := schema.get("$ref"):
        name = ref.rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for word in ("anyOf", "oneOf"):
        if choices := schema.get(word):
            return " or ".join(dict.fromkeys(_type(one) for one in choices))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    return _plain_type(schema, str(schema.get("type", "any")))


def _plain_type(schema: Mapping[str, Any], kind: str) -> str:
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(more := schema.get("additionalProperties"), dict) and more:
        return f"object of {_type(more)}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
