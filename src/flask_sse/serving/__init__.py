"""How a response leaves the web server.

``takeover`` gives the hub the client's own connection, and the worker is free at once. ``relay`` gives
the hub one end of a socketpair, and the web server copies the other end to the client. ``response``
chooses.
"""
