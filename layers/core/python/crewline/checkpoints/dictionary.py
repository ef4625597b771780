"""What records have in common, so that zstd need not spell it again in each.

A record of one chat message is mostly the frame around its text. The dictionary is part of the
format: records of version 1 can be read only with these very bytes, so they never change.
"""

from __future__ import annotations

from typing import Final

import zstandard

_LEVEL: Final = 3

_FRAGMENTS: Final = (
    # names of types and fields that are rarer, first: what is near the end is cheapest to refer to
    b"\xbdlangchain_core.messages.system\xadSystemMessage\xb9langchain_core.documents.base\xa8Document",
    b"\xafpydantic\xaedataclasses\xa8datetime\xaddatetime\xadfromisoformat\xa4uuid\xa4UUID\xa7decimal\xa7Decimal",
    b"\xaflanggraph.types\xa9Interrupt\x82\xa5value\x81\xa8question\xa2id\xd9\x20\xa4Send\xa7Command\xafresponse_schema\xc0",
    b"\xabpage_content\xa6source\xa5title\xa4text\xa4url\xa5score\xa5query\xa6result\xa5error\xa6status\xa5items\xa4data",
    b"__interrupt____resume____error____scheduled____pregel_tasks__no_writes__\xa6__root__join:+:",
    (
        b"\x94\xbblangchain_core.messages.tool\xabToolMessage\x88\xa7content\xda\xb1additional_kwargs\x80\xb1response_metadata\x80"
        b"\xa4type\xa4tool\xa4name\xa6search\xa2id\xd9$\xactool_call_id\xacall_\xa8artifact\xc0\xa6status\xa7success\xb3model_validate_json"
    ),
    b"\xaatool_calls\x91\x84\xa4name\xa6search\xa4args\x81\xa5query\xa2id\xb2call_\xa4type\xa9tool_call",
    b"\xb5stop_reason\xa8end_turn\xadstop_sequence\xc0\xa5usage\xacsystem_fingerprint\xadservice_tier\xabmodel_providerfp_",
    b"\xb3input_token_details\x82\xa5audio\x00\xaacache_read\x00\xb4output_token_details\x82\xa5audio\x00\xa9reasoning\x00",
    b"\x81\xa8messages\x91\x82\xa4role\xa4user\xa7content\xda\xa9assistant\xa6system",
    # the metadata of a checkpoint
    (
        b"\x8a\xa6source\xa6update\xa4fork\xa6run_id\xd9$\xa8graph_id\xa5agent\xacassistant_id\xd9$\xa7user_id\xb1langgraph_auth_user"
        b"\xabcheckpoint_ns\xa0\xa9thread_id"
    ),
    b"\x83\xa6source\xa5input\xa4step\xff\xa7parents\x80",
    b"\x83\xa6source\xa4loop\xa4step\xcd\x01\xa7parents\x80",
    # the messages
    b"\x94\xbalangchain_core.messages.ai\xa9AIMessage\x89\xa7content\xda\x02",
    (
        b"\xb1additional_kwargs\x80\xb1response_metadata\x82\xaamodel_name\xabgpt-\xadfinish_reason\xa4stop\xa4type\xa2ai"
        b"\xa4name\xc0\xa2id\xd9$run--0\xd9$lc_run--\xaatool_calls\x90\xb2invalid_tool_calls\x90\xaeusage_metadata\x83"
        b"\xacinput_tokens\xcd\x03\xadoutput_tokens\xcc\xactotal_tokens\xcd\x04\xb3model_validate_json"
    ),
    b"\x94\xbdlangchain_core.messages.human\xacHumanMessage\x86\xa7content\xd9",
    b"\xb1additional_kwargs\x80\xb1response_metadata\x80\xa4type\xa5human\xa4name\xc0\xa2id\xd9$\xb3model_validate_json",
    # a whole record: the difference of a superstep
    b"\x98\x01\xa0\xd9$1f1e555-6-800\x82\xa1s\x82\xa2ts\xd9 2026-11-21T00:00:00.000000+00:00\xb0updated_channels\x91\xa9__start__",
    (
        b"\xa1n\x82\xb0channel_versions\x81\xa1s\x82\xa8messages\xcd\x01\xadbranch:to:agent\xcd\x01\xaeversions_seen\x81\xa1n\x81"
        b"\xa9__start__\x81\xa1s\x81\xa9__start__\xcd\x01\xa1r\x91\xa9__input__\x80"
    ),
    b"\x92\xa7msgpack\xc4\x1e\x92\x81\xa9__start__\x93\x00\xa7msgpack\xc5\x01\x81\xa8messages\x91\xc8\x01\x90\xc0\x90",
    b"\x92\x82\xa8messages\x94\x02\x00\x91\xc5\x01\xadbranch:to:\x93\x00\xa4null\xc4\x00\x91\xa9__start__\xc0",
    (
        b"\x92\x96\xd9$00000000-0000-0000-0000-000000000000\xb2~__pregel_pull, agent\x00\xa8messages\xa7msgpack\xc5\x01\x91\xc8\x01"
        b"\x96\xd9$\xb2~__pregel_pull, __start__\x01\xadbranch:to:\xa4null\xc4\x00"
    ),
)

DICTIONARY: Final = zstandard.ZstdCompressionDict(
    b"".join(_FRAGMENTS), dict_type=zstandard.DICT_TYPE_RAWCONTENT
)
"""The dictionary of version 1."""
DICTIONARY.precompute_compress(level=_LEVEL)


def compress(data: bytes) -> bytes:
    """Compress with the dictionary; for any thread, since every call has a context of its own."""
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=DICTIONARY, write_checksum=True).compress(data)


def decompress(data: bytes, *, most: int) -> bytes:
    """Undo `compress`.

    Args:
        data: The compressed bytes.
        most: Bytes that they may unfold to.

    Raises:
        ValueError: They are not zstd's, were not made with this dictionary, or unfold to more.
    """
    try:
        if not 0 <= zstandard.frame_content_size(data) <= most:
            raise ValueError("unbelievable size")
        unfolding = zstandard.ZstdDecompressor(dict_data=DICTIONARY).decompressobj()
        unfolded = unfolding.decompress(data)
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc
    if not unfolding.eof or unfolding.unused_data:
        raise ValueError("not one whole frame")
    return unfolded
