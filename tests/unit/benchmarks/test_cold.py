from benchmarks.cold.__main__ import judge
from benchmarks.cold.starts import PEER, Start, Starts


def _starts(name: str, *cpu_ms: float, modules: tuple[str, ...] = ("crewline",)) -> Starts:
    return Starts(name, [Start(one, 2 * one, list(modules), [], []) for one in cpu_ms])


def _found(api: Starts) -> dict[str, Starts]:
    return {PEER: _starts(PEER, 90, 100, 500), "api": api, "tail": _starts("tail", 100)}


def test_the_median_of_a_light_function_is_held_against_the_peers() -> None:
    assert all(verdict.kept for verdict in judge(_found(_starts("api", 1, 115, 900))))

    ratio = judge(_found(_starts("api", 116)))[1]
    assert (ratio.kept, ratio.measured) == (False, "1.16")


def test_a_light_function_imports_nothing_of_langgraph_or_langchain() -> None:
    api = _starts("api", 100, modules=("crewline", "langchain_core.messages", "langgraph"))

    first, *others = judge(_found(api))

    assert (first.kept, first.measured) == (False, "2 modules")
    assert all(verdict.kept for verdict in others)
