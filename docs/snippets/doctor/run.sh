flask --app app sse doctor https://example.com/stream
