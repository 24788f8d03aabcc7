from app import app
from gevent.pywsgi import WSGIServer

WSGIServer(("127.0.0.1", 8000), app).serve_forever()
