"""Frames as server-sent events: names, ids, where a client goes on, filters, accumulated messages."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from crewline.http.sse import HEARTBEAT, Renderer, is_end, parse_id, spell
from crewline.models.events import END, ERROR, LAST_EPOCH, METADATA, START, Frame, Position

META = {"langgraph_node": "model"}


def frame(seq: int, mode: str, value: Any = None, *namespace: str, epoch: int = 1) -> Frame:
    return Frame(
        position=Position(epoch, seq), mode=mode, data=orjson.dumps(value), namespace=tuple(namespace)
    )


def chunk(seq: int, content: Any = "", message_id: str = "m", **more: Any) -> Frame:
    message = {"type": "AIMessageChunk", "id": message_id, "content": content, **more}
    return frame(seq, "messages", [message, META])


def events(rendered: bytes) -> list[tuple[str, Any, str]]:
    """Read events as a client does: name, data, id."""
    found = []
    for block in rendered.decode().split("\r\n\r\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\r\n"))
        found.append((lines["event"], orjson.loads(lines["data"]), lines.get("id", "")))
    return found


def rendered(renderer: Renderer, *frames: Frame) -> list[tuple[str, Any, str]]:
    return events(b"".join(map(renderer.render, frames)))


# ------------------------------------------------------------------ spelling


def test_an_event_is_spelled_as_the_standard_says() -> None:
    assert spell("values", b'{"a":1}', "1-2") == b'event: values\r\ndata: {"a":1}\r\nid: 1-2\r\n\r\n'
    assert spell("error", b"{}") == b"event: error\r\ndata: {}\r\n\r\n"


def test_a_heartbeat_is_a_comment_that_no_client_takes_for_an_event() -> None:
    assert HEARTBEAT == b": heartbeat\r\n\r\n"


def test_a_frame_without_data_has_null() -> None:
    assert rendered(Renderer(["values"]), Frame(position=Position(1, 1), mode="values")) == [
        ("values", None, "1-1")
    ]


def test_only_the_end_is_the_end() -> None:
    assert [is_end(frame(1, mode)) for mode in (METADATA, ERROR, END, "values")] == [
        False, False, True, False,
    ]  # fmt: skip


def test_without_the_header_there_is_no_position() -> None:
    assert parse_id(None) is None


@pytest.mark.parametrize("text", ["-1", "0", "", "1", "1-", "-1-2", "1-2-3", "1-2.", "x-y", " 1-2", "1-2\n"])
def test_what_was_never_given_out_means_the_start(text: str) -> None:
    place = parse_id(text)
    assert place is not None
    assert place[0] == START
    assert place < (Position(0, 1), 0)


def test_an_id_is_read_back_to_the_part() -> None:
    assert parse_id("3-14") == (Position(3, 14), 0)
    assert parse_id("3-14.1") == (Position(3, 14), 1)


def test_an_id_of_the_future_is_a_position_after_which_nothing_comes_yet() -> None:
    place = parse_id("7-1")
    assert place == (Position(7, 1), 0)
    assert rendered(Renderer(["values"], after=place), frame(9, "values"), frame(1, END, epoch=7)) == []


def test_an_epoch_after_the_last_one_means_the_start() -> None:
    assert parse_id(f"{LAST_EPOCH}-2") == (Position(LAST_EPOCH, 2), 0)
    beyond = parse_id(f"{LAST_EPOCH + 1}-2")
    assert beyond is not None
    assert beyond[0] == START


# ------------------------------------------------------------------ names, filters, ids


def test_modes_that_were_asked_for_are_shown_by_their_names_and_places() -> None:
    renderer = Renderer(["values", "updates"])
    assert rendered(
        renderer,
        frame(1, METADATA, {"run_id": "r"}),
        frame(2, "values", {"n": 1}),
        frame(3, "custom", "unasked"),
        frame(4, "updates", {"a": {}}, "sub:1", "deep:2"),
        frame(5, END, {"status": "success"}),
    ) == [
        ("metadata", {"run_id": "r"}, "1-1"),
        ("values", {"n": 1}, "1-2"),
        ("updates|sub:1|deep:2", {"a": {}}, "1-4"),
        ("end", {"status": "success"}, "1-5"),
    ]
    assert renderer.last == Position(1, 5)


def test_a_filter_leaves_metadata_out_and_keeps_the_error_and_the_end() -> None:
    renderer = Renderer(["updates"], filtered=True)
    shown = rendered(
        renderer,
        frame(1, METADATA, {}),
        frame(2, "values", {}),
        frame(3, "updates", {}),
        frame(4, ERROR, {"error": "E"}),
        frame(5, END, {}),
    )
    assert [name for name, _, _ in shown] == ["updates", "error", "end"]
    assert renderer.failed


def test_an_error_is_noted_even_if_the_client_has_it() -> None:
    renderer = Renderer([], after=(Position(1, 9), 0))
    assert rendered(renderer, frame(1, ERROR, {})) == []
    assert renderer.failed


def test_a_client_goes_on_after_what_it_has() -> None:
    renderer = Renderer(["values"], after=(Position(1, 2), 0))
    shown = rendered(
        renderer, *(frame(seq, "values", seq) for seq in (1, 2, 3)), frame(1, "values", 4, epoch=2)
    )
    assert [(value, ident) for _, value, ident in shown] == [(3, "1-3"), (4, "2-1")]


def test_a_later_attempt_counts_from_one_and_still_comes_after() -> None:
    renderer = Renderer(["values"], after=parse_id("1-900"))
    assert [ident for _, _, ident in rendered(renderer, frame(1, METADATA, {}, epoch=2))] == ["2-1"]


# ------------------------------------------------------------------ messages


def test_tuples_are_shown_chunk_by_chunk() -> None:
    renderer = Renderer(["messages-tuple"])
    assert not renderer.accumulates
    first, second = rendered(renderer, chunk(1, "so "), chunk(2, "be it"))
    assert (first[0], first[1][0]["content"], first[2]) == ("messages", "so ", "1-1")
    assert (second[1][0]["content"], second[1][1]) == ("be it", META)


def test_chunks_accumulate_to_messages_and_the_parts_of_a_frame_have_ids() -> None:
    renderer = Renderer(["messages"])
    assert renderer.accumulates
    assert rendered(renderer, chunk(1, "so "), chunk(2, "be it")) == [
        ("messages/metadata", {"m": {"metadata": META}}, "1-1"),
        ("messages/partial", [{"type": "ai", "id": "m", "content": "so "}], "1-1.1"),
        ("messages/partial", [{"type": "ai", "id": "m", "content": "so be it"}], "1-2"),
    ]


@pytest.mark.parametrize(
    ("known", "left"),
    [
        ("1-1", [("messages/partial", "1-1.1"), ("messages/partial", "1-2")]),
        ("1-1.1", [("messages/partial", "1-2")]),
        ("1-2", []),
        ("-1", [("messages/metadata", "1-1"), ("messages/partial", "1-1.1"), ("messages/partial", "1-2")]),
    ],
)
def test_a_client_may_go_on_between_the_parts_of_a_frame(known: str, left: list[tuple[str, str]]) -> None:
    renderer = Renderer(["messages"], after=parse_id(known))
    shown = rendered(renderer, chunk(1, "so "), chunk(2, "be it"))
    assert [(name, ident) for name, _, ident in shown] == left
    assert all(value[0]["content"] == "so be it" for _, value, ident in shown if ident == "1-2")


def test_messages_in_turns_are_kept_apart() -> None:
    shown = rendered(Renderer(["messages"]), chunk(1, "a", "x"), chunk(2, "b", "y"), chunk(3, "c", "x"))
    partial = [value[0] for name, value, _ in shown if name == "messages/partial"]
    assert [(one["id"], one["content"]) for one in partial] == [("x", "a"), ("y", "b"), ("x", "ac")]


def test_a_whole_message_is_complete_at_once() -> None:
    message = {"type": "tool", "id": "t", "content": "42"}
    assert rendered(Renderer(["messages"]), frame(1, "messages", [message, META], "sub:1")) == [
        ("messages/metadata|sub:1", {"t": {"metadata": META}}, "1-1"),
        ("messages/complete|sub:1", [message], "1-1.1"),
    ]


def test_a_whole_message_that_ends_chunks_has_its_metadata_already() -> None:
    message = {"type": "ai", "id": "m", "content": "so be it"}
    shown = rendered(Renderer(["messages"]), chunk(1, "so "), frame(2, "messages", [message, META]))
    assert [name for name, _, _ in shown] == ["messages/metadata", "messages/partial", "messages/complete"]


def last_partial(*frames: Frame) -> dict[str, Any]:
    shown = rendered(Renderer(["messages"]), *frames)
    message: dict[str, Any] = shown[-1][1][0]
    return message


def call(index: int | None, args: str | None, name: str | None = None, ident: str | None = None) -> Any:
    return {"index": index, "args": args, "name": name, "id": ident, "type": "tool_call_chunk"}


def test_the_chunks_of_tool_calls_accumulate_by_their_index() -> None:
    message = last_partial(
        chunk(1, tool_call_chunks=[call(0, "", "add", "c0"), call(1, "", "mul", "c1")]),
        chunk(2, tool_call_chunks=[call(0, '{"a":')]),
        chunk(3, tool_call_chunks=[call(1, '{"b": 2}'), call(0, " 1}")]),
    )
    assert message["tool_calls"] == [
        {"name": "add", "args": {"a": 1}, "id": "c0", "type": "tool_call"},
        {"name": "mul", "args": {"b": 2}, "id": "c1", "type": "tool_call"},
    ]
    assert "tool_call_chunks" not in message


def test_a_call_whose_arguments_are_not_whole_yet_shows_none() -> None:
    message = last_partial(chunk(1, tool_call_chunks=[call(0, '{"a": [1', "add", "c0")]))
    assert [(one["name"], one["args"]) for one in message["tool_calls"]] == [("add", {})]


def test_calls_without_an_index_are_calls_of_their_own() -> None:
    message = last_partial(
        chunk(1, tool_call_chunks=[call(None, "{}", "add", "c0")]),
        chunk(2, tool_call_chunks=[call(None, "{}", "add", "c1")]),
    )
    assert [one["id"] for one in message["tool_calls"]] == ["c0", "c1"]


def test_text_blocks_go_on_by_their_index_and_others_are_appended() -> None:
    message = last_partial(
        chunk(1, [{"type": "text", "index": 0, "text": "so "}]),
        chunk(2, [{"type": "text", "index": 0, "text": "be it"}]),
        chunk(3, [{"type": "text", "index": 1, "text": "or not"}, {"type": "image", "index": 1}]),
        chunk(4, "plain"),
    )
    assert message["content"] == [
        {"type": "text", "index": 0, "text": "so be it"},
        {"type": "text", "index": 1, "text": "or not"},
        {"type": "image", "index": 1},
        "plain",
    ]


def test_what_a_model_says_beside_its_text_is_kept() -> None:
    message = last_partial(
        chunk(1, "a", response_metadata={"model": "x"}),
        chunk(2, "b", usage_metadata={"input_tokens": 7}, response_metadata={"finish_reason": "stop"}),
    )
    assert message["usage_metadata"] == {"input_tokens": 7}
    assert message["response_metadata"] == {"model": "x", "finish_reason": "stop"}
