uvicorn --port 8000 asgi:app
