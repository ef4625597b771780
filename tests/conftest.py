"""What every test stands on: strict deserialisation, and one local service a test process."""

import gc
import os

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before anything imports langgraph, which reads it then

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crewline.local.children import ChildService, local_service

BASIC = Path(__file__).parent / "projects" / "basic"


def pytest_collection_finish() -> None:
    """Spare the collector what is imported by now: it took a sixth of the time, looking at that again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildService]:
    """A `crewline dev` with the graphs of tests/projects/basic, for the whole test process."""
    with local_service(project=BASIC, state=tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="session")
def service_url(service: ChildService) -> str:
    """Where the service answers."""
    return service.url


@pytest.fixture(scope="session")
def worker_log(service: ChildService) -> Path:
    """What the functions of the service have logged."""
    return service.log.parent / "logs" / "functions.log"


@pytest.fixture
def http(service_url: str) -> Iterator[httpx.Client]:
    """A client of the service."""
    with httpx.Client(base_url=service_url, timeout=60) as client:
        yield client
