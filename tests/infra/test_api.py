"""The REST API sends every path to the function that `crewline.http.resources` names for it."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from crewline.http.preferences import LONGEST_WAIT_S
from crewline.http.resources import RESOURCES, resource_for

OfType = Callable[[str], dict[str, dict[str, Any]]]
Paths = dict[str, str]

REQUESTS = (
    "/",
    "/ok",
    "/info",
    "/mcp",
    "/threads",
    "/threads/search",
    "/threads/count",
    "/threads/T",
    "/threads/T/copy",
    "/threads/T/history",
    "/threads/T/runs",
    "/threads/T/commands",
    "/threads/T/runs/R",
    "/threads/T/runs/R/cancel",
    "/threads/T/runs/R/cancel/x",
    "/threads/T/runs/R/join",
    "/threads/T/runs/R/stream",
    "/threads/T/runs/stream",
    "/threads/T/runs/wait",
    "/threads/T/stream",
    "/threads/T/stream/events",
    "/threads/T/state",
    "/threads/T/state/C",
    "/threads/T/state/checkpoint",
    "/threads/wait/runs",
    "/runs",
    "/runs/batch",
    "/runs/batch/B",
    "/runs/cancel",
    "/runs/crons/search",
    "/runs/stream",
    "/runs/wait",
    "/assistants",
    "/assistants/A",
    "/assistants/A/versions",
    "/store/items",
    "/v1/runs/R/events",
)


@pytest.fixture(scope="module")
def paths(of_type: OfType) -> Paths:
    """Path of each resource that has the ANY method → name of the function behind it."""
    resources = of_type("ApiGateway::Resource")
    found = {}
    for method in of_type("ApiGateway::Method").values():
        assert method["HttpMethod"] == "ANY"
        parts: list[str] = []
        place = method["ResourceId"]
        while "Ref" in place:  # the root is a Fn::GetAtt of the API
            parts.insert(0, resources[place["Ref"]]["PathPart"])
            place = resources[place["Ref"]]["ParentId"]
        (function,) = (f for f in ("Api", "Crew", "Tail") if f"{f}Live" in json.dumps(method["Integration"]))
        found[f"/{'/'.join(parts)}"] = function.lower()
    return found


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _rank(segment: str) -> int:
    """Literal before variable before greedy."""
    return 2 if segment.endswith("+}") else 1 if segment.endswith("}") else 0


def _match_without_turning_back(paths: Paths, request: str) -> str | None:
    """Descend into the most specific child each time; what is not below it is lost."""
    place = ""
    for wanted in _segments(request):
        children = [path for path in paths if path != "/" and path.rpartition("/")[0] == place]
        fitting = [c for c in children if _rank(c) or c == f"{place}/{wanted}"]
        if not fitting:
            return None
        place = min(fitting, key=_rank)
        if place.endswith("+}"):
            break
    return paths.get(place or "/")


def _fits(path: str, request: str) -> bool:
    ours, theirs = _segments(path), _segments(request)
    if ours and ours[-1].endswith("+}"):
        theirs = theirs[: len(ours)]
    return len(ours) == len(theirs) and all(_rank(o) or o == t for o, t in zip(ours, theirs, strict=True))


def _match_the_most_specific(paths: Paths, request: str) -> str | None:
    """Choose among all resources that fit, as API Gateway was measured to do."""
    fitting = [path for path in paths if _fits(path, request)]
    return paths[min(fitting, key=lambda path: [_rank(s) for s in _segments(path)])] if fitting else None


@pytest.mark.parametrize("match", [_match_without_turning_back, _match_the_most_specific])
@pytest.mark.parametrize("request_path", REQUESTS)
def test_a_path_reaches_its_function_however_api_gateway_resolves_it(
    paths: Paths, match: Callable[[Paths, str], str | None], request_path: str
) -> None:
    assert match(paths, request_path) == resource_for(request_path)[1]


def test_every_resource_of_the_table_is_there(paths: Paths) -> None:
    assert dict(RESOURCES).items() <= paths.items()


def test_no_resource_is_without_a_method(of_type: OfType, paths: Paths) -> None:
    assert len(paths) == len(of_type("ApiGateway::Resource")) + 1


def _parents_of_variables(paths: Iterable[str]) -> Counter[str]:
    return Counter(path.rpartition("/")[0] for path in paths if path.endswith("}"))


def test_no_resource_has_two_variable_children_for_api_gateway_refuses_them(paths: Paths) -> None:
    assert set(_parents_of_variables(paths).values()) == {1}


def test_the_api_may_invoke_each_function_by_one_statement(of_type: OfType) -> None:
    invoked = Counter(
        permission["FunctionName"]["Ref"]
        for permission in of_type("Lambda::Permission").values()
        if permission["Principal"] == "apigateway.amazonaws.com"
    )

    assert invoked == {"ApiLive": 1, "CrewLive": 1, "TailLive": 1}


def test_every_answer_is_streamed_for_as_long_as_its_function_may_take(of_type: OfType) -> None:
    functions = of_type("Lambda::Function")
    longest = {}
    for method in of_type("ApiGateway::Method").values():
        integration = method["Integration"]
        uri = integration["Uri"]["Fn::Join"][1]
        (alias,) = (part["Ref"] for part in uri if "Live" in str(part))
        name = alias.replace("Live", "Function")
        assert integration["ResponseTransferMode"] == "STREAM"
        assert uri[-1] == "/response-streaming-invocations"
        assert integration["TimeoutInMillis"] == functions[name]["Timeout"] * 1000
        longest[name] = functions[name]["Timeout"]

    assert longest == {"ApiFunction": 90, "CrewFunction": 900, "TailFunction": 900}
    assert longest["ApiFunction"] > LONGEST_WAIT_S


def test_the_api_is_regional_and_throttled(of_type: OfType) -> None:
    (api,) = of_type("ApiGateway::RestApi").values()
    (stage,) = of_type("ApiGateway::Stage").values()

    assert api["EndpointConfiguration"] == {"Types": ["REGIONAL"]}
    assert stage["MethodSettings"][0]["ThrottlingRateLimit"] == 100
    assert stage["MethodSettings"][0]["ThrottlingBurstLimit"] == 200


def test_access_logs_name_the_resource_and_never_the_path(of_type: OfType) -> None:
    (stage,) = of_type("ApiGateway::Stage").values()
    logged = set(json.loads(stage["AccessLogSetting"]["Format"]).values())

    assert "$context.resourcePath" in logged
    assert "$context.path" not in logged


def _rendered(response: dict[str, Any]) -> dict[str, Any]:
    """What a client reads, as API Gateway fills the template in: nothing but names of variables is replaced."""
    template = response["ResponseTemplates"]["application/json"]
    for variable in ("$context.extendedRequestId", "$context.error.responseType"):
        template = template.replace(variable, "IT")
    assert "$" not in template
    body: dict[str, Any] = json.loads(template)
    return body


def test_errors_of_the_gateway_look_like_those_of_the_functions(of_type: OfType) -> None:
    responses = {one["ResponseType"]: one for one in of_type("ApiGateway::GatewayResponse").values()}
    told = {kind: (one.get("StatusCode"), _rendered(one)["code"]) for kind, one in responses.items()}

    assert told == {
        "THROTTLED": ("429", "limit_exceeded"),
        "REQUEST_TOO_LARGE": ("413", "too_large"),
        "MISSING_AUTHENTICATION_TOKEN": ("404", "not_found"),
        "ACCESS_DENIED": ("403", "forbidden"),
        "WAF_FILTERED": ("403", "forbidden"),
        "INTEGRATION_FAILURE": ("503", "unavailable"),
        "INTEGRATION_TIMEOUT": ("503", "unavailable"),
        "DEFAULT_4XX": (None, "bad_request"),
        "DEFAULT_5XX": (None, "internal"),
    }
    for response in responses.values():
        body = _rendered(response)
        assert body.keys() == {"detail", "code", "error"}
        assert body["detail"].endswith(" (Request IT)")
        assert body["error"] == {"message": body["detail"], "code": body["code"]}


def test_no_variable_of_the_gateways_errors_could_be_taken_for_a_longer_one(of_type: OfType) -> None:
    for response in of_type("ApiGateway::GatewayResponse").values():
        template = response["ResponseTemplates"]["application/json"]
        assert re.findall(r"\$[A-Za-z.]+", template)
        assert not re.findall(r"\$[A-Za-z.]*\.(?![A-Za-z])", template)


def test_who_may_try_again_is_told_when(of_type: OfType) -> None:
    retried = {
        one["ResponseType"]: one["ResponseParameters"].get("gatewayresponse.header.retry-after")
        for one in of_type("ApiGateway::GatewayResponse").values()
    }

    assert {kind for kind, after in retried.items() if after} == {
        *("THROTTLED", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT"),
    }
    assert retried["THROTTLED"] == "'1'"


def test_any_page_may_read_errors_of_the_gateway_where_it_may_read_all_answers(of_type: OfType) -> None:
    for response in of_type("ApiGateway::GatewayResponse").values():
        assert response["ResponseParameters"]["gatewayresponse.header.access-control-allow-origin"] == "'*'"


def test_resources_and_what_lambda_keeps_of_them_stay_far_below_the_limits(of_type: OfType) -> None:
    assert len(of_type("ApiGateway::Resource")) < 60  # of 300
    statements: Counter[str] = Counter()
    for permission in of_type("Lambda::Permission").values():
        statements[json.dumps(permission["FunctionName"])] += len(json.dumps(permission))
    assert max(statements.values()) < 2_000  # of 20 KB, with names filled in
