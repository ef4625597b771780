"""The local cloud as its starter sees it: start, address, stop."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crewline.local.failures import LocalServiceError
from crewline.local.states import StateFolder
from crewline.store.clients import Credentials

LOOPBACK: Final = "127.0.0.1"
REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"
CREDENTIALS: Final = Credentials(ACCOUNT, "local")
"""ministack reads the account from the access key; nothing checks the secret."""

_NAMED_PORT: Final = "4566"
"""The port in the URLs of queues, under which the emulator keeps them: it must survive a restart on
another port. Nothing listens there; an SDK sends to AWS_ENDPOINT_URL whatever a queue's URL says."""

_START_TIMEOUT: Final = 60.0
_STOP_TIMEOUT: Final = 30.0

_NOT_INHERITED: Final = frozenset(
    {
        "PYTHONDONTWRITEBYTECODE",  # would compile langgraph anew in each worker
        "AUTH",
        "EDGE_PORT",
        "LAMBDA_EXECUTOR",
        "LAMBDA_STRICT",
        "SERVICES",
        "USE_SSL",
    }
)
_NOT_INHERITED_PREFIXES: Final = ("AWS_", "MINISTACK_", "LOCALSTACK_")


@dataclass(frozen=True, slots=True)
class LocalCloud:
    """A running local cloud."""

    url: str
    """The endpoint of every service."""
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which any AWS SDK talks to this cloud."""
        return cloud_environment(self.url)

    def stop(self) -> None:
        """Save the state and end the cloud with every worker; waits until that is done."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()

    def kill(self) -> None:
        """End the cloud and its workers at once; the last writes are lost."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def cloud_environment(url: str) -> dict[str, str]:
    """Spell the variables with which any AWS SDK talks to a local cloud and to nothing else.

    Args:
        url: The cloud's endpoint.

    Returns:
        Variable name → text.
    """
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Take from an environment what may reach the local cloud and its functions.

    A profile or a role of the caller must not, nor anything that configures the emulator.

    Args:
        environ: Usually `os.environ`.

    Returns:
        The rest, a model's API key included.
    """
    return {
        name: value
        for name, value in environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_NOT_INHERITED_PREFIXES)
    }


@contextmanager
def running(state: StateFolder, *, runtimes: Path | None = None) -> Iterator[LocalCloud]:
    """Run a local cloud on a free port of loopback.

    It answers from the first request on: the socket listens before the process is there, so that
    nothing has to be polled, and a process that dies refuses at once.

    Args:
        state: Where it keeps what it stores.
        runtimes: What stands for `/var/runtime`, if functions that are really deployed shall run;
            see `crewline.local.sandboxes`.

    Yields:
        The cloud; stopped and saved on leaving.

    Raises:
        LocalServiceError: It did not come up; the message ends with the last lines of its log.
    """
    with socket.create_server((LOOPBACK, 0)) as listener:
        cloud = _launch(listener, state, runtimes)
    try:
        _await_answer(cloud, state)
        yield cloud
    finally:
        cloud.stop()
        if cloud.process.stdin:
            cloud.process.stdin.close()


def _launch(listener: socket.socket, state: StateFolder, runtimes: Path | None) -> LocalCloud:
    url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    environment = {
        **inherited(os.environ),
        **cloud_environment(url),
        "GATEWAY_PORT": _NAMED_PORT,
        "BIND_HOST": LOOPBACK,
        "MINISTACK_HOST": LOOPBACK,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state.services),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(state.objects),
        "TMPDIR": str(state.temporary),
    }
    command = [sys.executable, "-P", "-m", "crewline.local.emulator"]
    command += [str(listener.fileno()), str(state.function_log), *([str(runtimes)] if runtimes else [])]
    with state.cloud_log.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # The lock goes along: the folder stays held until the state is saved.
            pass_fds=(listener.fileno(), state.lock),
            # A group of its own: Ctrl-C in the terminal must reach the starter alone.
            process_group=0,
        )
    return LocalCloud(url, process)


def _await_answer(cloud: LocalCloud, state: StateFolder) -> None:
    connection = http.client.HTTPConnection(cloud.url.removeprefix("http://"), timeout=_START_TIMEOUT)
    try:
        connection.request("GET", "/_ministack/health")
        connection.getresponse().read()
    except (OSError, http.client.HTTPException) as exc:
        cloud.kill()
        cloud.process.wait()
        raise LocalServiceError(f"The local cloud did not start.\n{last_lines(state.cloud_log)}") from exc
    finally:
        connection.close()


def last_lines(path: os.PathLike[str], count: int = 15) -> str:
    """Read the end of a log.

    Args:
        path: The log.
        count: How many lines at most.

    Returns:
        The lines.
    """
    with open(path, errors="replace") as log:  # noqa: PTH123  any os.PathLike
        return "".join(log.readlines()[-count:]).rstrip()
