"""Follows runs that execute elsewhere; knows no LangGraph."""

import asyncio
import os
from typing import Any

from crewline.http.replies import buffered
from crewline.runtime import make_tail

app = make_tail(os.environ)
answer = app.answer


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return asyncio.run(buffered(answer(event, context)))
