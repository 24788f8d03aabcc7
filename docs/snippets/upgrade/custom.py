from flask import Flask

from flask_sse import ServerSentEventsBlueprint

news = ServerSentEventsBlueprint("news", __name__)
news.add_url_rule(rule="", endpoint="stream", view_func=news.stream)

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(news, url_prefix="/news")
