"""Extension: what one application has: settings, a client of its hub, a submitter, and JSON of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from typing import Any

from flask import (
    copy_current_request_context,
    current_app,
    has_app_context,
    has_request_context,
    json,
    request,
)
from flask.json.provider import DefaultJSONProvider
from flask.sansio.app import App

# Loaded here and not at the first use: a process that is forked while another thread imports a module waits
# for ever when it imports it, too.
from .brokers.redis import publisher as _publisher_of_redis  # noqa: F401
from .errors import SSEError
from .hub.client.forks import forget_after_fork
from .hub.client.hub_client import HubClient
from .hub.client.open_client import announce, open_hub_client, reaches_this_process_only
from .hub.client.override import MEMORY_URL, Override, active_override, keeping_override
from .rights import note_own_revocation
from .settings import Settings, check_settings, warn_of_unknown_settings
from .submitter import Submitter
from .wire import message as wire_message
from .wire.envelope import checked_json

logger = logging.getLogger(__name__)

_EXTENSION = "sse"
_NO_BROKER = f"{_EXTENSION}.no-broker"
_ANY_BROKER = {"SSE_BROKER_URL": MEMORY_URL}
_OTHER_PROCESSES = (
    "%s runs in several processes with SSE_HUB=thread and memory://: each has a hub of its own, so an event "
    "reaches the pages of one process only; set SSE_HUB=auto or a Redis URL, or run one process"
)
# Where Flask keeps its contexts; those of a request end with it.
_FLASK_VARIABLES = ("flask.app_ctx", "flask.request_ctx")


class Message(wire_message.Message):
    """Data that is published as a server-sent event; JSON is the application's own.

    Data that is not a string becomes JSON by the JSON provider of the current application, or by
    Flask's default where there is none.
    """

    __slots__ = ()

    @staticmethod
    def dump_json(data: Any) -> str:
        """Turn data that is not a string into JSON text."""
        provider = current_app.json if has_app_context() else None
        if provider is None or type(provider).dumps is DefaultJSONProvider.dumps:
            # Python's JSON writes NaN, which no browser reads.
            return json.dumps(data, allow_nan=False)
        # Others have a rule of their own; a hub would drop what is no JSON, without an error.
        return checked_json(provider.dumps(data))


class _FlaskSubmitter(Submitter):
    message_class = Message

    def revoke(self, subject: str | None, channel: str | None, reason: str) -> None:
        super().revoke(subject, channel, reason)
        note_own_revocation()


@dataclass(frozen=True, slots=True)
class Extension:
    """What one application needs, made when it first publishes or streams.

    Attributes:
        settings: Its settings.
        hub_client: Its client of the hub.
        submitter: What its events go through to the broker.
    """

    settings: Settings
    hub_client: HubClient
    submitter: Submitter

    @property
    def reaches_this_process_only(self) -> bool:
        """Whether hub and broker are in this process, so that no other one gets its events."""
        return reaches_this_process_only(self.settings, self.hub_client)


class _Creating:
    """Lets one thread at a time make what an application has."""

    def __init__(self) -> None:
        self.forget()
        forget_after_fork(self)

    def forget(self) -> None:
        """Begin again with a lock that no thread of the parent process holds."""
        self.lock = threading.Lock()


_creating = _Creating()


def current_extension() -> Extension:
    """Return what the current application has, and make it at its first use.

    Raises:
        KeyError: If the application has no URL of a broker.
        InvalidSettingError: If a setting cannot be used.
    """
    override = active_override()
    extensions = current_app.extensions
    if override is not None:
        extensions = override.kept_for(current_app._get_current_object())  # type: ignore[attr-defined] # noqa: SLF001 - Flask shows it
    if _EXTENSION not in extensions:
        with _creating.lock:
            if _EXTENSION not in extensions:
                extensions[_EXTENSION] = _extension_at(override) if override is not None else _extension()
    extension: Extension = extensions[_EXTENSION]
    if extension.reaches_this_process_only:
        _warn_of_other_processes(current_app)
    return extension


def logged_topics(app: App) -> set[str]:
    """Return the topics of an application's notices and warnings that are written once."""
    topics: set[str] = app.extensions.setdefault(f"{_EXTENSION}.logged", set())
    return topics


def _warn_of_other_processes(app: App) -> None:
    """Log once that events do not reach the pages of other worker processes, if the web server has some."""
    if not has_request_context() or not request.environ.get("wsgi.multiprocess"):
        return
    if _OTHER_PROCESSES not in logged_topics(app):
        logged_topics(app).add(_OTHER_PROCESSES)
        logger.warning(_OTHER_PROCESSES, app.name)


def check_configuration(app: App) -> None:
    """Check those settings of an application that are there already, and warn of unknown ones.

    Raises:
        InvalidSettingError: If one cannot be used.
    """
    check_settings(app.config)
    warn_of_unknown_settings(app.config, logged_topics(app))


def broker_less_settings() -> Settings:
    """Return the settings of the current application for what needs no broker, read at its first use.

    Raises:
        InvalidSettingError: If a setting other than the broker's URL cannot be used.
    """
    extensions = current_app.extensions
    extension: Extension | None = extensions.get(_EXTENSION)
    if extension is not None:
        return extension.settings
    if _NO_BROKER not in extensions:
        extensions[_NO_BROKER] = Settings.from_mapping({**current_app.config, **_ANY_BROKER})
    settings: Settings = extensions[_NO_BROKER]
    return settings


def settings_of(app: App) -> Settings:
    """Return the settings of an application.

    Raises:
        KeyError: If it has no URL of a broker.
        InvalidSettingError: If a setting cannot be used.
    """
    return replace(Settings.from_mapping(app.config), application=_name_of(app))


def _name_of(app: App) -> str:
    """Return the name under which all processes of an application know it.

    Of a script that Python runs, Flask takes the name of the file, which is what ``flask`` and web servers
    import. Of ``python -m shop.web`` it takes ``web``, and of every ``python -m shop`` it takes ``__main__``.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return app.name if app.import_name != "__main__" or spec is None else str(spec.name)


def _extension() -> Extension:
    settings = settings_of(current_app)
    # Again, for what was set after the blueprint was registered.
    check_configuration(current_app)
    # For the same reason.
    _announce(current_app)
    hub_client = open_hub_client(settings)
    return Extension(settings, hub_client, _FlaskSubmitter(settings, hub_client))


def _extension_at(override: Override) -> Extension:
    """Return what the application has in a test: its own settings, but for where hub and broker are."""
    check_configuration(current_app)
    settings = Settings.from_mapping({**current_app.config, "SSE_BROKER_URL": MEMORY_URL})
    hub_client = override.open_hub_client(settings)
    return Extension(settings, hub_client, _FlaskSubmitter(settings, hub_client))


def _announce(app: App) -> None:
    """Announce this process to a hub that holds pages of this application, after a restart.

    It would end otherwise while no page is opened for a while.
    """
    if active_override() is not None:
        return
    with contextlib.suppress(KeyError, SSEError):
        settings = settings_of(app)
        # Kept, for the hub counts connections.
        app.extensions[f"{_EXTENSION}.presence"] = announce(settings)


def announce_from_now_on(app: App) -> None:
    """Do so now, and in every process that is forked later."""
    _applications.add(app)
    _announce(app)


def _announce_all() -> None:
    for app in list(_applications):
        _announce(app)


# A server that loads the application once forks its new workers from there.
_applications: weakref.WeakSet[App] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_announce_all)


def call_in_contexts() -> Callable[[Callable[[], None]], None]:
    """Return what calls a function in another thread with the contexts of now.

    It has the request, its session and the context variables of now. ``flask.g`` is new and empty: the
    teardown of the request has closed what was in the other one.
    """
    override = active_override()

    def call(work: Callable[[], None]) -> None:
        work()

    variables = [(name, value) for name, value in copy_context().items() if name.name not in _FLASK_VARIABLES]
    in_flask = copy_current_request_context(call) if has_request_context() else _call_in_app()

    def enter(work: Callable[[], None]) -> None:
        for variable, value in variables:
            variable.set(value)
        with keeping_override(override):
            in_flask(work)

    # Not in the thread's own context, which has Flask's variables where threads inherit contexts.
    return lambda work: Context().run(enter, work)


def _call_in_app() -> Callable[[Callable[[], None]], None]:
    context = current_app.app_context()

    def call(work: Callable[[], None]) -> None:
        with context:
            work()

    return call


def hint_of_g(error: BaseException) -> str | None:
    """Return what explains that something is not in ``flask.g``; ``None`` for other errors."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, current_app.app_ctx_globals_class):
        return None
    return (
        f"flask.g has no {error.name!r} here: a generator of sse.response or sse.run works after its "
        "request, with a g of its own. Read it in the view and pass it on, or open it again in the generator"
    )
