gunicorn --bind 127.0.0.1:8000 --worker-class gevent_pywsgi app:app
