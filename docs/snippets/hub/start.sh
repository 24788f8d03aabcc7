export SSE_BROKER_URL=redis://localhost
python -m flask_sse.hub --socket /run/app/sse.sock
