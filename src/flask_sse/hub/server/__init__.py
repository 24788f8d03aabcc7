"""The hub on asyncio: sockets, control connections, statistics. It carries out what the core decides."""
