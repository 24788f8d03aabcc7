import os

from flask_sse import Publisher

publisher = Publisher(os.environ["BROKER_URL"])


def export(channel: str, rows: int) -> None:
    """A task of Celery, RQ or another job queue; the web application made the channel with new_run()."""
    publisher.produce(({"row": number} for number in range(rows)), channel)
