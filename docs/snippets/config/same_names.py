import os

from flask import Flask

app = Flask(__name__)
app.config.from_mapping({key: value for key, value in os.environ.items() if key.startswith("SSE_")})
