from a2wsgi import WSGIMiddleware
from app import app as wsgi_app

app = WSGIMiddleware(wsgi_app)
