"""Tickets in access logs: a filter replaces them, because a ticket gives a right to each reader of it."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping
from typing import Any

from .tickets import TICKET

_TICKET_IN_URL = re.compile(rf"([?&]{TICKET}=)(?!\.\.\.)[^\s&\"']+")
_ACCESS_LOGS = ("werkzeug", "gunicorn.access", "uvicorn.access", "hypercorn.access", "granian.access")


class _WithoutTickets(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _TICKET_IN_URL.search(record.getMessage()):
            # Formatters, such as uvicorn's, look at the arguments themselves.
            record.msg, record.args = _without_ticket(record.msg), _each_without_ticket(record.args)
            text = record.getMessage()
            if _TICKET_IN_URL.search(text):
                record.msg, record.args = _without_ticket(text), ()
        return True


def _without_ticket(value: Any) -> Any:
    return _TICKET_IN_URL.sub(r"\1...", value) if isinstance(value, str) else value


def _each_without_ticket(args: Any) -> Any:
    if not isinstance(args, Mapping):
        return tuple(map(_without_ticket, args or ()))
    # gunicorn's and hypercorn's are dictionaries of their own that look up more than they hold.
    atoms: Any = copy.copy(args)
    for name, value in args.items():
        atoms[name] = _without_ticket(value)
    return atoms


_without_tickets = _WithoutTickets()


def keep_tickets_out_of_logs() -> None:
    """Have the access logs of web servers that log with Python leave tickets out."""
    for name in _ACCESS_LOGS:
        logging.getLogger(name).addFilter(_without_tickets)
