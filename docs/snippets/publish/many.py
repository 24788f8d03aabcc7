import os
from typing import Any

from flask_sse import BrokerUnavailableError, Publisher

publisher = Publisher(os.environ["REDIS_URL"])


def price_events(number: int, prices: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {"data": price, "type": "price", "channel": f"price-{name}", "key": f"update-{number}"}
        for name, price in prices.items()
    ]


def tell(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Publish events; return those to retry."""
    try:
        publisher.publish_many(events)
    except BrokerUnavailableError as error:
        return events[len(error.published) :]
    return []
