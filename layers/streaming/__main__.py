"""What `start` runs, and a container image with the name of a handler."""

import os
import sys

from streaming_bootstrap.loop import main

status = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# Not sys.exit(): it would wait for threads that a handler left behind, and Lambda waits for the exit.
os._exit(status)
