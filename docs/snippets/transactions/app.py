from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from flask_sse import sse

app = Flask(__name__)
app.config["SSE_BROKER_URL"] = "memory://"
app.register_blueprint(sse, url_prefix="/stream")
engine = create_engine("sqlite:///shop.db")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


Base.metadata.create_all(engine)


@app.post("/orders/<item>")
def order(item: str) -> tuple[str, int]:
    with Session(engine) as session, session.begin():
        new = Order(item=item)
        session.add(new)
        session.flush()  # gives it an id
        sse.publish_on_commit(session, {"id": new.id, "item": item}, type="order")
        if item == "nothing":
            raise ValueError("rolled back, so the event is dropped")
    return "", 204
