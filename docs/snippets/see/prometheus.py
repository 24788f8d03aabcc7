from app import app

from flask_sse.metrics import metrics

app.register_blueprint(metrics, url_prefix="/internal")
