from flask import Flask

app = Flask(__name__)
app.config["REDIS_URL"] = "rediss://app:password@redis.example:6379?ssl_ca_certs=/etc/ssl/redis-ca.pem"
