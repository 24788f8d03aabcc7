flask --app app sse doctor --json https://example.com/stream > doctor.json
