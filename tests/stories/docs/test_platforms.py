"""The Procfile of the page on platforms runs, and the containers of its pod work together."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from tests.stories.docs.snippets import lay, read, shell
from tests.support.brokers import Broker, start_redis
from tests.support.client import StreamClient, get
from tests.support.processes import Process, children, free_port
from tests.support.webservers import SCRIPTS

from flask_sse import BrokerUnavailableError, Publisher
from flask_sse.settings import Settings

APP, PROCFILE, POD = "platforms/app.py", "platforms/Procfile", "platforms/deployment.yaml"
IDLE_SECONDS = 55  # what Heroku allows
WORKER_SECONDS = 20  # until a worker of gunicorn is there
SOCKET_IN_POD = "/run/sse/sse.sock"
HEALTH = """
import os
from flask import Flask
from flask_sse import sse
from flask_sse.health import health

app = Flask(__name__)
app.config.from_mapping({key: value for key, value in os.environ.items() if key.startswith("SSE_")})
app.register_blueprint(sse, url_prefix="/stream")
app.register_blueprint(health)
"""


@pytest.fixture(params=["certificate of its own", "no TLS"])
def platform_redis(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A Redis as platforms have it, and one as it is at home."""
    with start_redis(tls=request.param != "no TLS", password="secret") as broker:
        yield broker


def test_the_procfile_runs_on_the_port_and_with_the_redis_of_the_platform(
    platform_redis: Broker, tmp_path: Path, runtime_directory: str
) -> None:
    lay(tmp_path, {"app.py": APP, "Procfile": PROCFILE})
    port, url = free_port(), platform_redis.url.partition("?")[0]
    with (
        shell("honcho start", tmp_path, {"PORT": str(port), "REDIS_URL": url}, port),
        StreamClient(port, "/stream") as stream,
    ):
        stream.wait_opened(WORKER_SECONDS)
        publisher = Publisher(platform_redis.url)
        publisher.publish("from another dyno")
        publisher.close()
        assert stream.next_event().data == "from another dyno"


def test_without_the_option_such_a_certificate_is_refused() -> None:
    with start_redis(tls=True) as broker:
        publisher = Publisher(broker.url.partition("?")[0])
        with pytest.raises(BrokerUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            publisher.publish("not sent")
        publisher.close()


def test_heartbeats_come_well_within_what_a_platform_allows() -> None:
    assert Settings("memory://").rules.heartbeat_seconds < IDLE_SECONDS / 2


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """The pod of the deployment, which is one that Kubernetes knows."""
    deployment: dict[str, Any] = yaml.safe_load(read(POD))
    kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_the_containers_of_the_pod_share_what_they_must_and_have_time_to_end(pod: dict[str, Any]) -> None:
    [hub], [app] = pod["initContainers"], pod["containers"]
    assert hub["restartPolicy"] == "Always"
    for key in ("image", "env", "volumeMounts"):
        assert hub[key] == app[key]
    [mount] = hub["volumeMounts"]
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]
    assert str(Path(SOCKET_IN_POD).parent) == mount["mountPath"]
    pause = float(app["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + Settings("memory://").drain_seconds + 10


@contextmanager
def container(
    spec: dict[str, Any], folder: Path, shown: dict[str, str], ready: int | str
) -> Iterator[Process]:
    """The command of a container, with its variables, here."""
    command = shlex.join(spec["command"])
    env = {"SSE_DRAIN_SECONDS": "0.2", **{each["name"]: each["value"] for each in spec["env"]}}
    for before, after in shown.items():
        command = command.replace(before, after)
        env = {name: value.replace(before, after) for name, value in env.items()}
    with Process([SCRIPTS / command.split()[0], *shlex.split(command)[1:]], env, folder, ready) as process:
        yield process


def test_streams_go_on_when_the_application_of_the_pod_is_restarted(
    pod: dict[str, Any], valkey: Broker, tmp_path: Path, runtime_directory: str, channel: str
) -> None:
    (tmp_path / "app.py").write_text(HEALTH)
    port = free_port()
    # As the volume of a pod: everybody may write there.
    volume = Path(runtime_directory, "volume")
    volume.mkdir()
    volume.chmod(0o777)
    shown = {
        SOCKET_IN_POD: f"{volume}/sse.sock",
        "redis://redis": valkey.url,
        "0.0.0.0:8000": f"127.0.0.1:{port}",
    }
    [hub], [app] = pod["initContainers"], pod["containers"]
    probe = app["readinessProbe"]["httpGet"]["path"]
    publisher = Publisher(valkey.url)
    with container(hub, tmp_path, shown, "ready at") as sidecar:
        with container(app, tmp_path, shown, port):
            # Its socket listens before its workers are there.
            assert get(port, probe).status == 200
            stream = StreamClient(port, f"/stream?channel={channel}")
            stream.wait_opened()
            assert children(sidecar.pid)
        with stream, container(app, tmp_path, shown, port):
            publisher.publish("still here", channel=channel)
            assert stream.next_event().data == "still here"
            sidecar.terminate()
            assert get(port, probe).status == 503
    publisher.close()
