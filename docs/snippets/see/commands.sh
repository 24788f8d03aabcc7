flask sse status
flask sse status --watch
flask sse status --json
