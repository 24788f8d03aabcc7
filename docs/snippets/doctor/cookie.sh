read -rs -p 'Cookie: ' COOKIE && export COOKIE
flask --app app sse doctor --cookie-from-env COOKIE https://example.com/stream
