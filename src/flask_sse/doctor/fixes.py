"""Fixes: lines of configuration for each fault, by program. The reader replaces names in capitals."""

from __future__ import annotations

import math

from .finding import Fix

NO_BUFFERING: Fix = {
    "nginx": (
        "proxy_buffering off;",
        "# and remove this, so that streams control buffering themselves:",
        "# proxy_ignore_headers X-Accel-Buffering;",
    ),
    "Caddy": (
        "reverse_proxy 127.0.0.1:8000 {",
        "    flush_interval -1",
        "    # and remove response_buffers",
        "}",
    ),
    "Traefik": (
        "# remove the middleware `buffering` from the router of the stream",
        "loadBalancer: {responseForwarding: {flushInterval: 1ms}}",
    ),
}
COMPRESSION: Fix = {
    "nginx": ("gzip off;  # in the location of the stream, or remove text/event-stream from gzip_types",),
    "Caddy": ("@pages not header Accept text/event-stream*", "encode @pages zstd gzip"),
    "Traefik": ("compress: {excludedContentTypes: [text/event-stream]}",),
}
CACHE_CONTROL: Fix = {
    "nginx": ("# remove: proxy_hide_header Cache-Control;", "# remove: expires ...;"),
    "Caddy": ("# remove: header_down -Cache-Control", "# remove: header Cache-Control ..."),
    "Traefik": ("# remove Cache-Control from customResponseHeaders",),
}
X_ACCEL: Fix = {
    "nginx": ("proxy_buffering off;  # in each nginx between the application and the proxy that removes it",),
    "Caddy": ("# remove: header_down -X-Accel-Buffering",),
    "Traefik": ("# remove X-Accel-Buffering from customResponseHeaders",),
}
CONTENT_TYPE: Fix = {
    "nginx": ("# remove: proxy_hide_header Content-Type;", "# remove: add_header Content-Type ...;"),
    "Caddy": ("# remove: header_down Content-Type ...",),
    "Traefik": ("# remove Content-Type from customResponseHeaders",),
}
HTTP_2: Fix = {
    "nginx": ("listen 443 ssl;", "http2 on;  # before nginx 1.25.1: listen 443 ssl http2;"),
    "Caddy": ("NAME.example {  # with a name and no http:// before it, HTTP/2 is on",),
    "Traefik": ("tls: {}  # of the router; HTTP/2 is on then",),
}
TLS: Fix = {
    "nginx": ("listen 443 ssl;", "ssl_certificate FILE;", "ssl_certificate_key FILE;"),
    "Caddy": ("NAME.example {  # with a name and no http:// before it, TLS is on",),
    "Traefik": ("tls: {certResolver: NAME}  # of the router",),
}
CERTIFICATE: Fix = {
    "nginx": ("ssl_certificate FILE;  # with the intermediate certificates after it",),
    "shell": ("SSL_CERT_FILE=CA.pem flask sse doctor URL  # for your own certificate authority",),
}
AUTHORIZE: Fix = {
    "Flask": (
        "@sse.authorize",
        "def may_listen(channel):",
        "    return channel == f\"user-{session.get('user_id')}\"  # not session['user_id']",
    )
}
BROKER: Fix = {
    "Flask": ('app.config["SSE_BROKER_URL"] = "redis://HOST"  # of a server that answers',),
    "shell": ("redis-cli -u redis://HOST ping",),
}
HUB: Fix = {
    "Flask": ('app.config["SSE_HUB"] = "unix:/run/app/sse.sock"  # where `flask-sse hub` runs',),
    "shell": ("flask-sse hub --socket /run/app/sse.sock",),
}
SAME_BROKER: Fix = {
    "Flask": ('app.config["SSE_BROKER_URL"] = "redis://HOST"  # the same here and in the web server',),
    "shell": ("flask --app NAME sse doctor URL  # the application that serves this URL",),
}
ADDRESS: Fix = {
    "Flask": ('app.register_blueprint(sse, url_prefix="/stream")',),
    "shell": ("flask routes  # the rule of sse.stream is the path",),
}
RELAY: Fix = {
    "nginx": ("# let nginx do TLS, and the web server plain HTTP:", "proxy_pass http://127.0.0.1:8000;"),
    "shell": ("gunicorn -k gthread --threads 100 app:app  # if it has to relay",),
    "Flask": ('app.config["SSE_TAKEOVER"] = "auto"',),
}
UPSTREAM: Fix = {
    "nginx": ("proxy_pass http://127.0.0.1:8000;  # where the web server listens",),
    "Caddy": ("reverse_proxy 127.0.0.1:8000  # where the web server listens",),
    "Traefik": ("loadBalancer: {servers: [{url: http://127.0.0.1:8000}]}",),
}
ACCESS: Fix = {
    "shell": (
        "flask sse doctor --cookie-from-env COOKIE URL  # of a user with access",
        "flask sse doctor --channel NAME URL  # one that needs no cookie or ticket",
    ),
    "Flask": ('app.config["SECRET_KEY"] = ...  # the same here and in the web server, for a ticket',),
}
LIFETIME: Fix = {
    "Traefik": ("entryPoints: {NAME: {transport: {respondingTimeouts: {writeTimeout: 0}}}}",),
    "Flask": ("# see the logs of the hub and of the web server, which may have ended it",),
}


def idle_timeout(heartbeat_seconds: float, closed_after_seconds: float) -> Fix:
    """Return the fix for idle streams that time out: a longer timeout, or more frequent heartbeats.

    Args:
        heartbeat_seconds: The current setting.
        closed_after_seconds: The timeout that was observed.
    """
    timeout = max(60, 60 * math.ceil(2 * heartbeat_seconds / 60))
    return {
        "nginx": (f"proxy_read_timeout {timeout}s;",),
        "Caddy": (
            "reverse_proxy 127.0.0.1:8000 {",
            "    transport http {",
            f"        read_timeout {timeout}s",
            "    }",
            "}",
        ),
        "Traefik": LIFETIME["Traefik"],
        "Flask": (heartbeat(closed_after_seconds),),
    }


def heartbeat(timeout_seconds: float) -> str:
    """Return the setting that sends two heartbeats within this timeout."""
    half = timeout_seconds / 2
    seconds = math.floor(half) if half >= 1 else max(0.1, round(half, 1))
    return f'app.config["SSE_HEARTBEAT_SECONDS"] = {seconds:g}'
