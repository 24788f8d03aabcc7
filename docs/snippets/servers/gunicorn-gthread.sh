gunicorn --bind 127.0.0.1:8000 --threads 8 app:app
