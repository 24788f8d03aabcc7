"""``python -m flask_sse.hub``: the hub process.

Started by an application (``SSE_HUB=auto``), it gets its listening socket, its lock and its log as
descriptors and its settings on standard input, so that no secret stands on a command line. Started by
an operator with ``--socket PATH``, it reads the same settings from the environment and runs until it is
told to stop.
"""

from __future__ import annotations

import sys

from .process import main

sys.exit(main())
