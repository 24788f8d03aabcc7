from flask import Flask
from tasks import export

app = Flask(__name__)


@app.post("/exports/<job>")
def start(job: str) -> dict[str, str]:
    export.delay(job, rows=1000)
    return {"channel": f"job-{job}"}
