"""Brokers carry envelopes from every publisher to every hub.

Each has two ends: a *publisher* (blocking, used by applications) and a *feed* (asyncio, used by the
hub). ``base`` says what both must do, ``registry`` finds them by the scheme of a URL.
"""
