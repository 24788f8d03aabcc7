rq worker --with-scheduler
