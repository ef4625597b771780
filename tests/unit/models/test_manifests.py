"""A project's langgraph.json is read as LangGraph reads it, and what is wrong with it is one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from crewline.errors import BadManifest
from crewline.models.limits import Limits, Price
from crewline.models.manifests import Manifest, Reference, project_environment, read_manifest
from crewline.models.webhooks import WebhookPolicy


def write(folder: Path, content: Any) -> Path:
    (folder / "graphs.py").touch()
    path = folder / "langgraph.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(folder: Path, **content: Any) -> Manifest:
    return read_manifest(write(folder, {"graphs": {"crew": "./graphs.py:graph"}, **content}))


def refusal(path: Path) -> str:
    with pytest.raises(BadManifest) as caught:
        read_manifest(path)
    assert "\n" not in caught.value.message
    assert caught.value.message.endswith(".")
    return caught.value.message


def test_a_graph_is_spelled_path_colon_name(tmp_path: Path) -> None:
    crew = read(tmp_path).crews["crew"]
    assert (crew.graph_id, crew.path, crew.attribute) == ("crew", tmp_path.resolve() / "graphs.py", "graph")
    assert crew.description is None


def test_a_graph_may_have_a_description(tmp_path: Path) -> None:
    manifest = read(tmp_path, graphs={"crew": {"path": "graphs.py:make", "description": "Plans a trip"}})
    assert manifest.crews["crew"].attribute == "make"
    assert manifest.crews["crew"].description == "Plans a trip"


def test_the_name_comes_after_the_last_colon_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "a:b.py").touch()
    assert read(tmp_path, graphs={"crew": "a:b.py:graph"}).crews["crew"].path.name == "a:b.py"


def test_paths_are_relative_to_the_manifest_and_not_to_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"graphs": {"crew": "graphs.py:graph"}})
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(Path("langgraph.json"))
    assert manifest.crews["crew"].path.is_absolute()
    assert manifest.folder == tmp_path.resolve()


def test_local_dependencies_are_import_folders_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    manifest = read(tmp_path, dependencies=["./lib", "langchain_openai", ".", "requests==2"])
    assert manifest.import_folders == (tmp_path.resolve() / "lib", tmp_path.resolve())


def test_the_other_dependencies_are_requirements(tmp_path: Path) -> None:
    manifest = read(tmp_path, dependencies=[".", "langchain_openai", "requests==2"])
    assert manifest.requirements == ("langchain_openai", "requests==2")
    assert manifest.local_folders == (tmp_path.resolve(),)


def test_a_package_without_a_distribution_is_imported_by_its_name(tmp_path: Path) -> None:
    for folder in ("agent", "."):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "__init__.py").touch()

    assert read(tmp_path, dependencies=["./agent"]).import_folders == (tmp_path.resolve(),)
    assert read(tmp_path, dependencies=["."]).import_folders == (tmp_path.resolve(),)


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py"])
def test_a_distribution_may_have_its_packages_in_src(tmp_path: Path, name: str) -> None:
    (tmp_path / "src").mkdir()
    assert read(tmp_path, dependencies=["."]).import_folders == (tmp_path.resolve(),)

    (tmp_path / name).touch()

    assert read(tmp_path, dependencies=["."]).import_folders == (
        tmp_path.resolve() / "src",
        tmp_path.resolve(),
    )


def test_a_local_dependency_that_is_a_file_is_no_import_folder(tmp_path: Path) -> None:
    (tmp_path / "lib.whl").touch()
    assert read(tmp_path, dependencies=["./lib.whl"]).import_folders == ()


def test_variables_may_stand_in_the_manifest(tmp_path: Path) -> None:
    assert project_environment(read(tmp_path, env={"KEY": "value"})) == {"KEY": "value"}


def test_variables_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# secrets\nKEY=value\nexport QUOTED='a b'\nPRICE=$5 ${HOME}\nEMPTY=\nBARE\n"
    )
    assert project_environment(read(tmp_path, env=".env")) == {
        "KEY": "value",
        "QUOTED": "a b",
        "PRICE": "$5 ${HOME}",
        "EMPTY": "",
        "BARE": "",
    }


def test_the_file_of_variables_is_read_only_when_they_are_asked_for(tmp_path: Path) -> None:
    manifest = read(tmp_path, env=".env")
    with pytest.raises(BadManifest, match=r"env names \.env, which is not in"):
        project_environment(manifest)


def test_a_project_without_env_sets_no_variables(tmp_path: Path) -> None:
    assert project_environment(read(tmp_path)) == {}


def test_types_that_checkpoints_may_bring_back_are_named_by_langgraphs_own_setting(tmp_path: Path) -> None:
    serde = {"allowed_msgpack_modules": [["shop.models", "Order"]]}
    manifest = read(tmp_path, checkpointer={"serde": serde, "ttl": {}})
    assert manifest.allowed_types == (("shop.models", "Order"),)


def test_webhooks_go_to_public_https_unless_the_manifest_says_otherwise(tmp_path: Path) -> None:
    assert read(tmp_path).webhooks == read(tmp_path, webhooks=None).webhooks == WebhookPolicy()
    url = {"require_https": False, "allowed_domains": ["*.corp.test"], "allowed_ports": [80], "unknown": 1}
    found = read(tmp_path, webhooks={"url": url, "headers": {"X-App": "crews"}}).webhooks
    assert (found.url.require_https, found.url.disable_loopback) == (False, True)
    assert (found.url.allowed_domains, found.url.allowed_ports) == (("*.corp.test",), (80,))
    assert found.headers == {"X-App": "crews"}


def test_crews_that_are_long_are_named(tmp_path: Path) -> None:
    assert read(tmp_path, crewline={"long": ["crew"]}).long_crews == {"crew"}
    assert read(tmp_path).long_crews == frozenset()


EVENT = {"source": "shop", "detail_type": "Placed", "assistant_id": "crew", "input": "detail"}


def test_events_that_become_runs_are_named_with_what_is_where_in_them(tmp_path: Path) -> None:
    more = {**EVENT, "detail_type": "Paid", "thread_key": "detail.customer", "assistant_id": str(UUID(int=7))}
    first, second = read(tmp_path, crewline={"events": [EVENT, more]}).events
    assert (first.source, first.detail_type, first.thread_key) == ("shop", "Placed", None)
    assert (second.detail_type, second.thread_key) == ("Paid", "detail.customer")
    assert read(tmp_path).events == ()


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"input": "detail..id"}, "crewline.events.0.input: value error, is not jmespath, see character 8"),
        ({"input": "detail["}, "is not jmespath, see character 8"),
        ({"input": "a ~ b"}, "is not jmespath, see character 3"),
        (
            {"thread_key": "upper(detail.id)"},
            "events.0.thread_key: value error, jmespath has no function upper",
        ),
        ({"metadata": ""}, "crewline.events.0.metadata: string should have at least 1 character"),
        ({"tenant": "A#B"}, "crewline.events.0.tenant"),
        ({"source": ""}, "crewline.events.0.source"),
        ({"threadkey": "detail"}, "crewline.events.0.threadkey: extra inputs"),
        (
            {"assistant_id": "other"},
            "'other', which is neither a graph of this manifest nor the id of an assistant",
        ),
    ],
)
def test_an_entry_for_events_that_cannot_work_is_refused_with_the_place(
    tmp_path: Path, entry: dict[str, Any], sentence: str
) -> None:
    graphs = {"crew": "./graphs.py:graph"}
    path = write(tmp_path, {"graphs": graphs, "crewline": {"events": [{**EVENT, **entry}]}})
    assert sentence in refusal(path)


def test_an_event_starts_one_run(tmp_path: Path) -> None:
    graphs = {"crew": "./graphs.py:graph"}
    path = write(tmp_path, {"graphs": graphs, "crewline": {"events": [EVENT, {**EVENT, "input": "id"}]}})
    assert "two entries for source 'shop' and detail_type 'Placed'" in refusal(path)


def test_what_crewline_does_not_know_is_ignored(tmp_path: Path) -> None:
    assert read(
        tmp_path, python_version="3.12", ui={"path": "x"}, auth={"disable_studio_auth": True}, http={}
    ).crews


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not valid JSON"),
        ("[]", "input should be"),
        ({}, "graphs: field required"),
        ({"graphs": {}}, "graphs: dictionary should have at least 1 item"),
        (
            {"graphs": {"crew": "graphs.py:graph"}, "auth": {"path": "./gone.py:auth"}},
            "auth.path names ./gone.py",
        ),
        ({"graphs": {"crew": "graphs.py"}}, "'crew' must be spelled 'path/to/file.py:name', not 'graphs.py'"),
        ({"graphs": {"crew": ":graph"}}, "must be spelled"),
        ({"graphs": {"crew": "graphs.py:"}}, "must be spelled"),
        ({"graphs": {"crew": "./gone.py:graph"}}, "graph 'crew' names ./gone.py, which is not in"),
        ({"graphs": {"crew": 5}}, "graphs.crew"),
        ({"graphs": {"crew": {"description": "no path"}}}, "path: field required"),
        ({"graphs": {"crew": "graphs.py:g"}, "dependencies": ["./gone"]}, "gone, which does not exist"),
        (
            {"graphs": {"crew": "graphs.py:g"}, "dependencies": "."},
            "dependencies: input should be a valid list",
        ),
        ({"graphs": {"crew": "graphs.py:g"}, "env": 5}, "env"),
        (
            {"graphs": {"crew": "graphs.py:g"}, "webhooks": {"headers": {"Host": "x"}}},
            "webhooks: value error, headers: 'host' cannot be set",
        ),
        (
            {"graphs": {"crew": "graphs.py:g"}, "webhooks": {"url": {"allowed_domains": ["*"]}}},
            "webhooks.url.allowed_domains",
        ),
        ({"graphs": {"crew": "graphs.py:g"}, "env": {"A": ["b"]}}, "env"),
        ({"graphs": {"crew": "graphs.py:g"}, "crewline": {"lang": []}}, "crewline.lang: extra inputs"),
        (
            {"graphs": {"crew": "graphs.py:g"}, "crewline": {"long": ["other"]}},
            "crewline.long names other, which is not among the graphs",
        ),
    ],
)
def test_what_is_wrong_with_a_manifest_is_one_sentence_that_names_the_file(
    tmp_path: Path, content: Any, sentence: str
) -> None:
    path = write(tmp_path, content)
    message = refusal(path)
    assert sentence in message
    assert str(tmp_path) in message


def test_a_manifest_that_is_not_there_says_how_to_name_the_project(tmp_path: Path) -> None:
    assert "--project" in refusal(tmp_path / "langgraph.json")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


def test_a_manifest_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "langgraph.json"
    path.write_bytes(b'{"graphs": "\xff"}')
    assert "is not valid JSON" in refusal(path)


# ------------------------------------------------------------------ limits and prices


def test_limits_and_prices_are_read(tmp_path: Path) -> None:
    ours = {
        "limits": {"tokens": 5, "usd": 1, "crews": {"crew": {"seconds": 60}}},
        "prices": {"gpt": {"input": 2.5, "output": 10}},
    }
    guards = read(tmp_path, crewline=ours).guards
    assert guards.limits_of("crew", {}, longest_s=100) == Limits(
        seconds=60, supersteps=1_000, tokens=5, usd=1
    )
    assert guards.prices["gpt"] == Price(input=2.5, output=10)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ({"limits": {"tokens": -1}}, "crewline.limits.tokens"),
        ({"limits": {"minutes": 1}}, "crewline.limits.minutes"),
        ({"limits": {"crews": {"other": {}}}}, "crewline.limits.crews names other"),
        ({"limits": {"usd": 1}}, "crewline.prices does not say"),
        ({"limits": {"crews": {"crew": {"usd": 1}}}}, "crewline.prices does not say"),
        ({"prices": {"gpt": {"input": -1, "output": 1}}}, "crewline.prices.gpt.input"),
    ],
)
def test_limits_that_cannot_hold_are_refused(tmp_path: Path, ours: Any, said: str) -> None:
    assert said in refusal(write(tmp_path, {"graphs": {"crew": "./graphs.py:graph"}, "crewline": ours}))


def test_the_store_has_its_times_and_its_vectors_from_the_manifest(tmp_path: Path) -> None:
    index = {"embed": "./graphs.py:embed", "dims": 8, "fields": ["text"]}
    ttl = {"default_ttl": 60, "refresh_on_read": False, "sweep_interval_minutes": 5}
    manifest = read(tmp_path, store={"index": index, "ttl": ttl})
    assert manifest.embed == Reference(path=tmp_path.resolve() / "graphs.py", attribute="embed")
    assert manifest.store.index
    assert (manifest.store.index.dims, manifest.store.index.fields) == (8, ["text"])
    assert (manifest.store.ttl.default_ttl, manifest.store.ttl.refresh_on_read) == (60, False)


def test_without_a_word_of_the_store_nothing_expires_and_nothing_is_embedded(tmp_path: Path) -> None:
    manifest = read(tmp_path)
    assert manifest.embed is None
    assert manifest.store.index is None
    assert (manifest.store.ttl.default_ttl, manifest.store.ttl.refresh_on_read) == (None, True)


def test_vectors_may_come_from_a_model_that_langchain_knows(tmp_path: Path) -> None:
    manifest = read(tmp_path, store={"index": {"embed": "openai:text-embedding-3-small", "dims": 1536}})
    assert manifest.embed is None


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ({"index": {"embed": "./none.py:embed", "dims": 8}}, "names ./none.py"),
        ({"index": {"embed": "./graphs.py:embed"}}, "store.index.dims: field required"),
        ({"index": {"embed": "./graphs.py:embed", "dims": 0}}, "store.index.dims"),
        ({"ttl": {"default_ttl": 0}}, "store.ttl.default_ttl"),
    ],
)
def test_what_is_wrong_with_the_store_is_said(tmp_path: Path, store: Any, said: str) -> None:
    content = {"graphs": {"crew": "./graphs.py:graph"}, "store": store}
    assert said in refusal(write(tmp_path, content))
