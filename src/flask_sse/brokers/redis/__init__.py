"""Redis and Valkey, by redis-py.

``publisher`` is the application's end. The hub's end has two connections: ``feed`` listens, ``reader``
reads what is kept, on the way that publishers take. ``history`` says what is kept and how; its scripts
are the ``.lua`` files beside it. ``client`` opens connections.
"""
