from flask import Flask

app = Flask(__name__)
app.config["REDIS_URL"] = "redis://app:password@localhost"
