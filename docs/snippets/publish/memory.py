from flask_sse import Publisher

publisher = Publisher("memory://", SSE_HUB="unix:/run/app/sse.sock")
