flask --app app run --port 8000
