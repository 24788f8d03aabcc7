export SSE_BROKER_URL=redis://localhost
flask-sse hub --socket /run/app/sse.sock
