import os

from celery import Celery, Task

from flask_sse import BrokerUnavailableError, Publisher

app = Celery("tasks", broker=os.environ["CELERY_BROKER_URL"])
publisher = Publisher(os.environ["REDIS_URL"])


@app.task
def export(job: str, rows: int) -> None:
    for done in range(1, rows + 1):
        publisher.publish({"done": done, "all": rows}, type="progress", channel=f"job-{job}")


# start of the retries
again = {"autoretry_for": (BrokerUnavailableError,), "retry_backoff": 1, "max_retries": 5}


@app.task(**again)
def tell_paid(order: int) -> None:
    publisher.publish({"order": order}, type="paid", channel="orders", key=f"paid-{order}")


@app.task(bind=True, **again)
def tell_steps(self: Task, job: str, steps: list[str]) -> None:
    for number, step in enumerate(steps):
        publisher.publish(step, type="step", channel=f"job-{job}", key=f"{self.request.id}-{number}")
