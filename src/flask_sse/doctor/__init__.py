"""The doctor: opens a stream through the real proxy, as a browser does, and reports what is wrong on the way.

The layers: ``probe`` waits and decides nothing; ``rules`` decide and wait for nothing; the values of
``observations`` are all that passes between them. Everything that a server sends is bounded, in time and in
bytes, and only printable text of it reaches a terminal. No module here loads Flask or asyncio on import.
h11 is the optional extra ``doctor``, so only ``probe`` and what it imports may load it.
"""
