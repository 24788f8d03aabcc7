"""What to write where, for each fault; names in capitals are to be filled in."""

from __future__ import annotations

import math

from .finding import Mend

NO_BUFFER: Mend = {
    "nginx": (
        "proxy_buffering off;",
        "# and take this out, for then streams say it themselves:",
        "# proxy_ignore_headers X-Accel-Buffering;",
    ),
    "Caddy": (
        "reverse_proxy 127.0.0.1:8000 {",
        "    flush_interval -1",
        "    # and take response_buffers out",
        "}",
    ),
    "Traefik": (
        "# take the middleware `buffering` off the router of the stream",
        "loadBalancer: {responseForwarding: {flushInterval: 1ms}}",
    ),
}
COMPRESSION: Mend = {
    "nginx": ("gzip off;  # in the location of the stream, or take text/event-stream out of gzip_types",),
    "Caddy": ("@pages not header Accept text/event-stream*", "encode @pages zstd gzip"),
    "Traefik": ("compress: {excludedContentTypes: [text/event-stream]}",),
}
CACHE_CONTROL: Mend = {
    "nginx": ("# take out: proxy_hide_header Cache-Control;", "# take out: expires ...;"),
    "Caddy": ("# take out: header_down -Cache-Control", "# take out: header Cache-Control ..."),
    "Traefik": ("# take Cache-Control out of customResponseHeaders",),
}
X_ACCEL: Mend = {
    "nginx": ("proxy_buffering off;  # in each nginx between the application and the proxy that drops it",),
    "Caddy": ("# take out: header_down -X-Accel-Buffering",),
    "Traefik": ("# take X-Accel-Buffering out of customResponseHeaders",),
}
CONTENT_TYPE: Mend = {
    "nginx": ("# take out: proxy_hide_header Content-Type;", "# take out: add_header Content-Type ...;"),
    "Caddy": ("# take out: header_down Content-Type ...",),
    "Traefik": ("# take Content-Type out of customResponseHeaders",),
}
HTTP_2: Mend = {
    "nginx": ("listen 443 ssl;", "http2 on;  # before nginx 1.25.1: listen 443 ssl http2;"),
    "Caddy": ("NAME.example {  # with a name and no http:// before it, HTTP/2 is on",),
    "Traefik": ("tls: {}  # of the router; HTTP/2 is on then",),
}
TLS: Mend = {
    "nginx": ("listen 443 ssl;", "ssl_certificate FILE;", "ssl_certificate_key FILE;"),
    "Caddy": ("NAME.example {  # with a name and no http:// before it, TLS is on",),
    "Traefik": ("tls: {certResolver: NAME}  # of the router",),
}
CERTIFICATE: Mend = {
    "nginx": ("ssl_certificate FILE;  # with the chain behind the certificate",),
    "shell": ("SSL_CERT_FILE=CA.pem flask sse doctor URL  # for an authority of your own",),
}
GUARD: Mend = {
    "Flask": (
        "@sse.authorize",
        "def may_listen(channel):",
        "    return channel == f\"user-{session.get('user_id')}\"",
    )
}
BROKER: Mend = {
    "Flask": ('app.config["SSE_BROKER_URL"] = "redis://HOST"  # of a server that answers',),
    "shell": ("redis-cli -u redis://HOST ping",),
}
HUB: Mend = {
    "Flask": ('app.config["SSE_HUB"] = "unix:/run/app/sse.sock"  # where `flask-sse hub` runs',),
    "shell": ("flask-sse hub --socket /run/app/sse.sock",),
}
SAME_BROKER: Mend = {
    "Flask": ('app.config["SSE_BROKER_URL"] = "redis://HOST"  # the same here and in the web server',),
    "shell": ("flask --app NAME sse doctor URL  # the application that serves this URL",),
}
ADDRESS: Mend = {
    "Flask": ('app.register_blueprint(sse, url_prefix="/stream")',),
    "shell": ("flask routes  # the rule of sse.stream is the path",),
}
RULE: Mend = {
    "Flask": (
        "@sse.authorize",
        "def may_listen(channel):",
        "    return channel == f\"user-{session.get('user_id')}\"  # not session['user_id']",
    )
}
RELAY: Mend = {
    "nginx": ("# let nginx speak TLS, and the web server plain HTTP:", "proxy_pass http://127.0.0.1:8000;"),
    "shell": ("gunicorn -k gthread --threads 100 app:app  # if it must be a relay",),
    "Flask": ('app.config["SSE_TAKEOVER"] = "auto"',),
}
UPSTREAM: Mend = {
    "nginx": ("proxy_pass http://127.0.0.1:8000;  # where the web server listens",),
    "Caddy": ("reverse_proxy 127.0.0.1:8000  # where the web server listens",),
    "Traefik": ("loadBalancer: {servers: [{url: http://127.0.0.1:8000}]}",),
}
RIGHTS: Mend = {
    "shell": (
        "flask sse doctor --cookie-from-env COOKIE URL  # of a visitor who may listen",
        "flask sse doctor --channel NAME URL  # one that everybody may listen to",
    ),
    "Flask": (
        'app.config["SECRET_KEY"] = ...  # the same here and in the web server: the doctor takes a ticket',
    ),
}


LIFETIME: Mend = {
    "Traefik": ("entryPoints: {NAME: {transport: {respondingTimeouts: {writeTimeout: 0}}}}",),
    "Flask": ("# the logs of the hub and of the web server tell whether they ended it",),
}


def outlast(heartbeat_seconds: float, cut_seconds: float) -> Mend:
    """Return what keeps quiet streams open: more patience in the proxy, or more heartbeats.

    Args:
        heartbeat_seconds: As it is set.
        cut_seconds: After how much silence the stream was cut.
    """
    patience = max(60, 60 * math.ceil(2 * heartbeat_seconds / 60))
    return {
        "nginx": (f"proxy_read_timeout {patience}s;",),
        "Caddy": (
            "reverse_proxy 127.0.0.1:8000 {",
            "    transport http {",
            f"        read_timeout {patience}s",
            "    }",
            "}",
        ),
        "Traefik": LIFETIME["Traefik"],
        "Flask": (heartbeat(cut_seconds),),
    }


def heartbeat(cut_seconds: float) -> str:
    """Return the line that sends heartbeats twice as often as silence is cut."""
    half = cut_seconds / 2
    seconds = math.floor(half) if half >= 1 else max(0.1, round(half, 1))
    return f'app.config["SSE_HEARTBEAT_SECONDS"] = {seconds:g}'
