"""The doctor: goes through the real proxy to the real stream and says what is wrong there.

Rules of this package: ``probe`` waits and decides nothing, ``judge`` decides and waits for nothing; between
them stand ``observations``. Whatever a server says is bounded here, in time and in bytes, and nothing of
it reaches a terminal that is not printable. Nothing is imported here that needs Flask or asyncio.
"""
