import os

from flask_sse import Publisher

publisher = Publisher(os.environ["REDIS_URL"])


def tell_paid(order: int) -> None:
    publisher.publish({"order": order}, type="paid", channel="orders", key=f"paid-{order}")
