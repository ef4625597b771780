"""What every test stands on: strict deserialisation, and one local service a test process.

With SERVICE_URL=https://… (and LANGGRAPH_API_KEY, which the official client reads too) the tests of a service run
against that one, as `make e2e` does; it must serve the graphs of tests/projects/basic. Those that look into the
service are skipped.
"""

import gc
import os

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before anything imports langgraph, which reads it then

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crewline.local.children import ChildService, local_service

BASIC = Path(__file__).parent / "projects" / "basic"
SERVICE_URL = os.environ.get("SERVICE_URL", "")
KEY = os.environ.get("LANGGRAPH_API_KEY", "")


def pytest_collection_finish() -> None:
    """Spare the collector what is imported by now: it took a sixth of the time, looking at that again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChildService]:
    """A `crewline dev` with the graphs of tests/projects/basic, for the whole test process."""
    if SERVICE_URL:
        pytest.skip("looks into the service, which is not of this machine")
    with local_service(project=BASIC, state=tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="session")
def service_url(request: pytest.FixtureRequest) -> str:
    """Where the service answers."""
    if SERVICE_URL:
        return SERVICE_URL
    service: ChildService = request.getfixturevalue("service")
    return service.url


@pytest.fixture(scope="session")
def worker_log(service: ChildService) -> Path:
    """What the functions of the service have logged."""
    return service.log.parent / "logs" / "functions.log"


@pytest.fixture
def http(service_url: str) -> Iterator[httpx.Client]:
    """A client of the service."""
    headers = {"x-api-key": KEY} if KEY else {}
    with httpx.Client(base_url=service_url, timeout=60, headers=headers) as client:
        yield client
