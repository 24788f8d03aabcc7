import os

from flask_sse import Publisher

publisher = Publisher(os.environ["REDIS_URL"])
receivers = publisher.publish({"rows": 1200}, type="import-done", channel="office")
print(f"receivers: {receivers}")
