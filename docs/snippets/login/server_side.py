import os

from app import app
from flask_session import Session
from redis import Redis

app.config.from_mapping(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(os.environ["REDIS_URL"]))
Session(app)
