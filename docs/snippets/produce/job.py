import os

from flask_sse import Publisher

publisher = Publisher(os.environ["BROKER_URL"])


def export(channel: str, rows: int) -> None:
    """A task of Celery, RQ or whatever runs your jobs; new_run() in the web application made the channel."""
    publisher.produce(({"row": number} for number in range(rows)), channel)
