from flask import Flask, request
from flask_sse import sse

app = Flask(__name__)


def tokens(question):
    for word in ["Tell", "me", "more", "of", question]:  # in place of a language model
        yield word


@app.get("/answer")
def answer():
    return sse.response(tokens(request.args["question"]))
