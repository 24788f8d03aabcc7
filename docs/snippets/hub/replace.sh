flask-sse hub --socket /run/app/sse.sock --replace
