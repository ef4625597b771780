"""Messages, block by block."""

from typing import Any

from crewline.http.v2.messages import Messages, plain

META = {
    "langgraph_node": "model",
    "langgraph_checkpoint_ns": "model:t1",
    "ls_provider": "p",
    "thread_id": "t",
}


def _chunk(content: Any = "", **more: Any) -> dict[str, Any]:
    return {"type": "AIMessageChunk", "id": "lc_run--1", "content": content, **more}


def _told(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    teller = Messages()
    return [said.data for message in messages for said in teller.take((), message, META)]


def _short(told: list[dict[str, Any]]) -> list[Any]:
    parts = []
    for data in told:
        extra = data.get("content") or data.get("delta") or {}
        text = extra.get("text") or extra.get("reasoning") or ""
        parts.append((data["event"], data.get("index"), extra.get("type"), text))
    return parts


def test_tokens_are_added_to_one_block() -> None:
    told = _told(_chunk("one"), _chunk(""), _chunk(" two", chunk_position="last"))

    assert _short(told) == [
        ("message-start", None, None, ""),
        ("content-block-start", 0, "text", ""),
        ("content-block-delta", 0, "text-delta", "one"),
        ("content-block-delta", 0, "text-delta", " two"),
        ("content-block-finish", 0, "text", "one two"),
        ("message-finish", None, None, ""),
    ]
    assert {(data["id"], data["run_id"]) for data in told} == {("lc_run--1", "1")}
    assert told[0]["role"] == "ai"
    assert told[0]["metadata"] == {"provider": "p", "langgraph_node": "model"}


def test_a_whole_message_is_told_at_once() -> None:
    told = _told({"type": "tool", "id": "m", "content": "42", "tool_call_id": "c", "name": "add"})

    assert (told[0]["role"], told[0]["tool_call_id"], told[0]["name"]) == ("tool", "c", "add")
    assert [data["event"] for data in told] == [
        "message-start",
        "content-block-start",
        "content-block-delta",
        "content-block-finish",
        "message-finish",
    ]


def test_what_is_no_message_is_not_told() -> None:
    assert _told({"type": "remove", "id": "m", "content": ""}) == []


def test_thoughts_come_before_words_in_a_block_of_their_own() -> None:
    told = _told(
        _chunk([{"type": "thinking", "thinking": "hm", "index": 0}]),
        _chunk([{"type": "reasoning", "reasoning": "!", "index": 0}]),
        _chunk([{"type": "text", "text": "yes", "index": 1}]),
        _chunk([], chunk_position="last"),
    )

    assert _short(told)[1:-1] == [
        ("content-block-start", 0, "reasoning", ""),
        ("content-block-delta", 0, "reasoning-delta", "hm"),
        ("content-block-delta", 0, "reasoning-delta", "!"),
        ("content-block-finish", 0, "reasoning", "hm!"),
        ("content-block-start", 1, "text", ""),
        ("content-block-delta", 1, "text-delta", "yes"),
        ("content-block-finish", 1, "text", "yes"),
    ]


def test_tool_calls_grow_and_are_read_when_they_are_whole() -> None:
    def piece(index: int, args: str, **more: Any) -> dict[str, Any]:
        return _chunk(tool_call_chunks=[{"index": index, "args": args, "id": None, "name": None, **more}])

    told = _told(
        _chunk("so"),
        piece(1, "", id="c1", name="add"),
        piece(1, '{"a":'),
        piece(1, "1}"),
        piece(2, "{broken", id="c2", name="sub"),
        _chunk(chunk_position="last"),
    )

    blocks = [data["content"] for data in told if data["event"] == "content-block-finish"]
    assert blocks[:2] == [
        {"type": "text", "text": "so"},
        {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}},
    ]
    assert (blocks[2]["type"], blocks[2]["args"], bool(blocks[2]["error"])) == (
        "invalid_tool_call",
        "{broken",
        True,
    )
    fields = [
        data["delta"]["fields"]
        for data in told
        if data["event"] == "content-block-delta" and data["index"] == 1
    ]
    assert [one["args"] for one in fields] == ['{"a":', '{"a":1}']
    assert {(one["type"], one["id"], one["name"]) for one in fields} == {("tool_call_chunk", "c1", "add")}


def test_tool_calls_of_a_whole_message_are_blocks_and_its_own_spelling_of_them_is_not() -> None:
    told = _told(
        {
            "type": "ai",
            "id": "m",
            "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}],
            "tool_calls": [{"id": "c1", "name": "add", "args": {"a": 1}, "type": "tool_call"}],
        }
    )

    assert [data["content"] for data in told if data["event"] == "content-block-finish"] == [
        {"type": "tool_call", "id": "c1", "name": "add", "args": {"a": 1}}
    ]


def test_a_block_of_another_kind_is_told_whole() -> None:
    image = {"type": "image", "url": "https://example.com/i.png"}
    told = _told({"type": "ai", "id": "m", "content": [image, image]})

    starts = [data["content"] for data in told if data["event"] == "content-block-start"]
    finishes = [data["content"] for data in told if data["event"] == "content-block-finish"]
    assert starts == finishes == [image, image]


def test_the_end_says_what_was_used() -> None:
    told = _told(
        _chunk("a", usage_metadata={"input_tokens": 3, "output_tokens": 1, "input_token_details": {"x": 1}}),
        _chunk(
            "b",
            usage_metadata={"input_tokens": 0, "output_tokens": 2, "input_token_details": {"x": 2}},
            response_metadata={"finish_reason": "stop"},
            chunk_position="last",
        ),
    )

    assert told[-1]["usage"] == {"input_tokens": 3, "output_tokens": 3, "input_token_details": {"x": 3}}
    assert told[-1]["metadata"] == {"finish_reason": "stop"}


def test_messages_of_several_calls_do_not_mix() -> None:
    teller = Messages()
    first, second = _chunk("a"), {**_chunk("b"), "id": "lc_run--2"}
    for message in (first, second, first):
        list(teller.take((), message, META))

    finished = [said.data for said in teller.finish() if said.data["event"] == "content-block-finish"]
    assert [(data["id"], data["content"]["text"]) for data in finished] == [
        ("lc_run--1", "aa"),
        ("lc_run--2", "b"),
    ]


def test_a_message_is_over_with_its_task_or_its_superstep() -> None:
    teller = Messages()
    list(teller.take((), _chunk("a"), META))
    assert list(teller.end_task((), "t2")) == []
    assert list(teller.end_task(("inner:1",), "t1")) == []
    assert [said.data["event"] for said in teller.end_task((), "t1")][-1] == "message-finish"

    list(teller.take((), _chunk("a"), META))
    assert [said.data["event"] for said in teller.end_step(())][-1] == "message-finish"

    list(teller.take((), _chunk("a"), META))
    assert [said.data for said in teller.abandon("lost")] == [
        {"event": "error", "id": "lc_run--1", "run_id": "1", "message": "lost"}
    ]
    assert list(teller.finish()) == []


def test_messages_of_a_state_are_shown_without_empty_fields() -> None:
    message: dict[str, Any] = {
        "type": "AIMessageChunk",
        "content": "",
        "id": "m",
        "name": None,
        "additional_kwargs": {},
        "tool_calls": [],
        "usage_metadata": {"input_tokens": 0},
    }
    shown = {"type": "ai", "content": "", "id": "m", "usage_metadata": {"input_tokens": 0}}
    assert plain([message]) == [shown]
    assert plain(message) == shown
    other: dict[str, Any] = {"type": "order", "content": None, "items": []}
    assert plain([other, 1, None]) == [other, 1, None]
