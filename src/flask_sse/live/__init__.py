"""Live page: shows what the hub does while it does it, to the operators of an application.

It is fed by a stream of the hub itself, which writes a report per second while the page is open, and holds no
worker. It is mounted where the application says, for the visitors that the application lets in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from flask import Blueprint, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response

from ..blueprint import sse
from ..channels import STATUS_CHANNEL
from ..errors import SSEError, UsageError
from ..extension import current_extension
from ..hub.protocol.stream_request import FRAMES, StreamRequest
from ..serving.response import event_stream
from ..sessions import save_no_session

# How long a page may be open before the application is asked again whether its visitor may see it.
WATCH_SECONDS = 300.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LivePage(Blueprint):
    """Streams, channels, rates, last events and slow clients; and a form to publish and to disconnect.

    Args:
        may_see: Tells whether the visitor of a request may see all that and act on it. It is asked in every
            request.
        name: Of the blueprint.

    Raises:
        UsageError: If there is nothing that tells who may see it: the page is never public.

    Example::

        app.register_blueprint(LivePage(may_see=lambda: current_user.is_admin), url_prefix="/live")
    """

    def __init__(self, may_see: Callable[[], Any], name: str = "sse_live") -> None:
        if not callable(may_see):
            raise UsageError("the live page needs a function that says who may see it")
        super().__init__(name, __name__, template_folder="templates", static_folder="static")
        self._may_see = may_see
        self.before_request(self._guard)
        self.add_url_rule("/", view_func=self.page)
        self.add_url_rule("/stream", view_func=self.stream)
        self.add_url_rule("/publish", view_func=self.publish, methods=["POST"])
        self.add_url_rule("/disconnect", view_func=self.disconnect, methods=["POST"])

    def _guard(self) -> None:
        if not self._may_see():
            abort(HTTPStatus.FORBIDDEN)
        # What the form of another site could send is rejected: it can send no JSON without a preflight.
        if request.method == "POST" and not request.is_json:
            abort(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)

    def page(self) -> ResponseReturnValue:
        """Answer with the page."""
        return render_template("flask_sse_live/page.html", name=self.name), _HEADERS

    def stream(self) -> Response:
        """Answer with the reports of the hub."""
        save_no_session()
        extension = current_extension()
        rules = replace(extension.settings.rules, max_stream_seconds=WATCH_SECONDS)
        return event_stream(
            current_app.response_class,
            extension.hub_client,
            StreamRequest((STATUS_CHANNEL,), FRAMES, rules),
            may_take_over=extension.settings.takeover == "auto",
            may_set_cookies=False,
        )

    def publish(self) -> ResponseReturnValue:
        """Publish the fields of the form."""
        fields = _fields("channel", "type", "data")
        return _done(
            lambda: {
                "receivers": sse.publish(fields["data"], fields["type"] or None, channel=fields["channel"])
            }
        )

    def disconnect(self) -> ResponseReturnValue:
        """End the streams that the form names."""
        fields = {name: value or None for name, value in _fields("channel", "subject").items()}

        def act() -> dict[str, Any]:
            sse.disconnect(**fields, reason="disconnected by an operator")
            return {}

        return _done(act)


def _fields(*names: str) -> dict[str, str]:
    body = request.get_json()
    fields = {name: body.get(name, "") for name in names} if isinstance(body, dict) else {}
    if not fields or not all(isinstance(value, str) for value in fields.values()):
        abort(HTTPStatus.BAD_REQUEST)
    return fields


def _done(act: Callable[[], dict[str, Any]]) -> ResponseReturnValue:
    try:
        return act(), _HEADERS
    except UsageError as error:
        return {"error": str(error)}, HTTPStatus.BAD_REQUEST, _HEADERS
    except SSEError as error:
        return {"error": str(error)}, HTTPStatus.BAD_GATEWAY, _HEADERS
