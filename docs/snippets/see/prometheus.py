from flask_sse.metrics import metrics

from app import app

app.register_blueprint(metrics, url_prefix="/internal")
