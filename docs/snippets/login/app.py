import secrets
from typing import Any

from flask import Flask, abort, request, session
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user
from flask_login.signals import user_loaded_from_cookie, user_logged_in

from flask_sse import sse

app = Flask(__name__)
app.config.from_mapping(SECRET_KEY="change me", SSE_BROKER_URL="memory://login")
login_manager = LoginManager(app)


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.name = name
        self.generation = 1  # in a database, as the rest

    def get_id(self) -> str:
        return f"{self.name}.{self.generation}"


users = {"ann": User("ann"), "bob": User("bob")}


@login_manager.user_loader
def load_user(user_id: str) -> User | None:
    user = users.get(user_id.partition(".")[0])
    return user if user and user.get_id() == user_id else None


# start of the rules
@sse.authorize
def may_listen(channel: str) -> bool:
    # First of all: a remembered user would begin a sign-in here that is not saved.
    if "sign_in" not in session:
        return False
    return current_user.is_authenticated and channel == f"user-{current_user.name}"


@sse.identify
def this_sign_in() -> str | None:
    return session.get("sign_in") if current_user.is_authenticated else None


@user_logged_in.connect_via(app)
@user_loaded_from_cookie.connect_via(app)
def begin_sign_in(_app: Flask, **_user: Any) -> None:
    session["sign_in"] = secrets.token_hex(8)


app.register_blueprint(sse, url_prefix="/stream")


@app.post("/login")
def login() -> str:
    user = users.get(request.form["name"]) or abort(401)  # and the password
    login_user(user, remember=True)
    return "welcome"


# start of the ends
@app.post("/logout")
@login_required
def logout() -> str:
    logout_user()
    sse.disconnect(subject=session.pop("sign_in"), reason="signed out")
    return "bye"


@app.post("/logout-everywhere")
@login_required
def logout_everywhere() -> str:
    user = current_user
    user.generation += 1  # no other session of this user is valid now
    sse.disconnect(channel=f"user-{user.name}", reason="signed out everywhere")
    logout_user()
    return "bye"
