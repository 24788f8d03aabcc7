import os

from redis import Redis
from rq import Queue, Retry
from rq_jobs import tell_paid

queue = Queue(connection=Redis.from_url(os.environ["RQ_REDIS_URL"]))
queue.enqueue(tell_paid, 7, retry=Retry(max=3, interval=[1, 5, 20]))
