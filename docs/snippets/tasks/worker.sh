celery --app tasks worker --loglevel info
