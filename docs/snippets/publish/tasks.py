import os

from celery import shared_task

from flask_sse import Publisher

publisher = Publisher(os.environ["REDIS_URL"])


@shared_task
def export(job: str, rows: list[str]) -> None:
    for done, _row in enumerate(rows, start=1):
        publisher.publish({"done": done, "all": len(rows)}, type="progress", channel=f"job-{job}")
