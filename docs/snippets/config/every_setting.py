from flask import Flask

app = Flask(__name__)
app.config.from_mapping(
    SSE_BROKER_URL="memory://shop",
    SSE_HUB="auto",
    SSE_TAKEOVER="auto",
    SSE_HUB_LINGER_SECONDS=60,
    SSE_DRAIN_SECONDS=8,
    SSE_HISTORY_SIZE=1000,
    SSE_HISTORY_SECONDS=3600,
    SSE_HISTORY_RULES={},
    SSE_HEARTBEAT_SECONDS=15,
    SSE_RETRY_MS="2000-5000",
    SSE_MAX_BACKLOG_BYTES=1024 * 1024,
    SSE_MAX_EVENT_BYTES=256 * 1024,
    SSE_MAX_STREAM_SECONDS=None,
    SSE_MAX_STREAMS=None,
    SSE_MAX_CHANNELS_PER_STREAM=None,  # 10, or 1 where the blueprint has a guard
)
