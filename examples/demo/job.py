"""A background job. It needs only the URL of the broker, nothing of the web application."""

from __future__ import annotations

import os
import sys
import time

from flask_sse import Publisher

STEPS = 40
STEP_SECONDS = 0.1

publisher = Publisher(sys.argv[1])

for done in range(STEPS + 1):
    publisher.publish({"done": done, "total": STEPS, "pid": os.getpid()}, type="progress")
    time.sleep(STEP_SECONDS)  # stands for work
