import os

from flask import Flask

app = Flask(__name__)
app.config["REDIS_URL"] = os.environ.get("REDIS_URL")
