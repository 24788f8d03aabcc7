uwsgi --http-socket 127.0.0.1:8000 --module app:app --die-on-term
