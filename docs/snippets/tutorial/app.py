from flask import Flask, abort, render_template

from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://votes"
app.register_blueprint(sse, url_prefix="/stream")

votes = {"tea": 0, "coffee": 0}


@app.get("/")
def index() -> str:
    return render_template("index.html", drinks=votes)


# start of the votes
@app.get("/votes")
def show() -> dict[str, int]:
    return votes


@app.post("/votes/<drink>")
def vote(drink: str) -> tuple[str, int]:
    if drink not in votes:
        abort(404)
    votes[drink] += 1
    sse.publish(votes, type="votes")
    return "", 204
