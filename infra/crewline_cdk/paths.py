"""Which resources the REST API has: the table of `crewline.http.resources`, with its gaps filled.

`/threads/T` has a resource only because `/threads/{thread_id}/state` needs a parent. That API
Gateway lets such a request fall back to `/{proxy+}` has been measured but is documented nowhere,
so no path relies on it: every resource has a method, and a greedy child wherever one may be.
"""

from __future__ import annotations

from collections.abc import Iterator

from crewline.http.resources import PROXY, RESOURCES, FunctionName


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _ancestors(path: str) -> Iterator[str]:
    while path != "/":
        path = _parent(path)
        yield path


def gateway_paths() -> dict[str, FunctionName]:
    """List every resource of the REST API and the function that answers it.

    API Gateway allows one variable child a resource: `/threads`, which has `{thread_id}`, gets
    no `{proxy+}` and needs none, for `{thread_id}` has one.

    Returns:
        Path of a resource → function, parents before children.
    """
    paths: dict[str, FunctionName] = dict(RESOURCES)
    between = {ancestor for path, _ in RESOURCES for ancestor in _ancestors(path)} - set(paths)
    taken = {_parent(path) for path in paths.keys() | between if path.endswith("}")}
    paths.update(dict.fromkeys(between, "api"))
    paths.update({f"{path.rstrip('/')}{PROXY}": "api" for path in between - taken})
    return dict(sorted(paths.items()))
