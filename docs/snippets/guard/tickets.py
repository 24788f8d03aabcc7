from flask import Flask, render_template_string

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(
    SECRET_KEY="change me",
    SSE_BROKER_URL="memory://tickets",
    SSE_REQUIRE_TICKET=True,
    SSE_CORS_ORIGINS=["https://shop.example"],
)
app.register_blueprint(sse, url_prefix="/stream")

PAGE = """
<script>
  new EventSource({{ sse.url("order-7", expires_in=900, cursor=True) | tojson }})
    .addEventListener("paid", (event) => { document.title = event.data; });
</script>
"""


@app.get("/order")
def order() -> str:
    return render_template_string(PAGE)
