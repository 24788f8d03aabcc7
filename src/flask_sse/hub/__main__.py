"""``python -m flask_sse.hub``: the hub process, as an application or ``flask-sse hub`` starts it."""

from __future__ import annotations

import sys

from .process.main import main

sys.exit(main())
