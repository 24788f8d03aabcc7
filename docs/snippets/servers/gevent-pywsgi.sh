python gevent_server.py
