"""Run every benchmark: ``python -m benchmarks``."""

from __future__ import annotations

from . import fanout, succession

fanout.main()
succession.main()
