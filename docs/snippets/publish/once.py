import os
import time

from flask_sse import BrokerUnavailableError, Publisher

publisher = Publisher(os.environ["REDIS_URL"])


def tell_paid(order: int) -> None:
    event = {"data": {"order": order}, "type": "paid", "channel": "orders", "key": f"paid-{order}"}
    for pause_seconds in (1, 5, 20):
        try:
            publisher.publish(**event)
        except BrokerUnavailableError:
            time.sleep(pause_seconds)
        else:
            return
    publisher.publish(**event)
