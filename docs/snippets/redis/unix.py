from flask import Flask

app = Flask(__name__)
app.config["REDIS_URL"] = "unix://:password@/run/redis/redis.sock"
