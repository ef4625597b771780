"""A Lambda runtime for Python functions that stream: the loop over the Runtime API, with the standard library alone.

Lambda's own Python client posts one buffer. This one takes its place in the managed runtime: a layer brings it, and
`AWS_LAMBDA_EXEC_WRAPPER=/opt/streaming/start` starts it; in a container image, `python /opt/streaming handler.answer`
does. The function's handler is called with event and context; it gives either an object with `status`, `headers` and
`body` (bytes, or an iterator of bytes, asynchronous or not), or a generator whose first item has status and headers and
whose others are the body. Each chunk leaves as it comes.

One event loop serves all invocations, so that asynchronous clients made once go on working.
"""
