granian --interface wsgi --port 8000 --blocking-threads 100 app:app
