from flask import Flask, render_template

from flask_sse import sse

app = Flask(__name__, static_url_path="")
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")

stock = {"apples": 3, "pears": 5}


@app.get("/stock")
def show() -> dict[str, int]:
    return stock


@app.post("/stock/<fruit>/<int:count>")
def change(fruit: str, count: int) -> tuple[str, int]:
    stock[fruit] = count  # the state first, then the event
    sse.publish({fruit: count}, type="stock")
    return "", 204


# start of the page
@app.get("/")
def index() -> str:
    cursor = sse.cursor()  # the position first, then the state
    return render_template("index.html", cursor=cursor, stock=stock)
