// Shows the reports of the hub. What comes from events is text and never becomes markup.

const POINTS = 120;
const MOST_EVENTS = 100;
const NAMES = {
  pid: "Process of the hub", apps: "Connections of applications", opened: "Streams opened", resumed: "Streams resumed",
  resets: "Resets", events: "Events", deliveries: "Deliveries", ended_slow: "Ended, too slow", rejected: "Rejected",
  revoked: "Revoked", foreign_dropped: "Foreign messages dropped", lost_runs: "Runs lost",
};

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const times = new Intl.DateTimeFormat("en", { timeStyle: "medium", hour12: false });
const history = {};

function cell(text, className = "") {
  const element = document.createElement("td");
  element.textContent = text;
  element.className = className;
  if (className === "text") element.title = text;
  return element;
}

function row(...cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function button(fields, question) {
  const holder = document.createElement("td");
  const element = document.createElement("button");
  element.className = "danger";
  element.textContent = "Disconnect";
  element.onclick = () => confirm(question) && send(document.querySelector("#disconnect"), fields);
  holder.append(element);
  return holder;
}

function fill(id, rows) {
  const body = document.querySelector(`#${id} tbody`);
  fill.empty ??= {};
  fill.empty[id] ??= body.firstElementChild;
  body.replaceChildren(...(rows.length ? rows : [fill.empty[id]]));
}

function draw(figure, values) {
  const top = Math.max(...values, 1);
  const points = values.map((value, index) => [POINTS - values.length + index + 1, 31 - (29 * value) / top]);
  const line = points.map((point) => point.join(",")).join(" ");
  figure.querySelector("polyline").setAttribute("points", line);
  figure.querySelector("polygon").setAttribute("points", `${points[0][0]},32 ${line} ${POINTS},32`);
}

function showCharts(report) {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const name = figure.dataset.chart;
    const values = (history[name] ??= []);
    values.push(report[name]);
    if (values.length > POINTS) values.shift();
    figure.querySelector("strong").textContent = numbers.format(report[name]);
    draw(figure, values);
  }
}

function when(lastEventId) {
  // A time that no Date can be is NaN; to format it would throw.
  const time = new Date(Number(/\.(\d+)-/.exec(lastEventId ?? "")?.[1] ?? 0)).getTime();
  return time > 0 ? times.format(time) : "–";
}

function showTables(report) {
  fill("busiest", report.busiest.map((each) => row(
    cell(each.channel, "text"), cell(numbers.format(each.streams), "number"), cell(numbers.format(each.events), "number"),
    cell(when(each.last_event_id)), button({ channel: each.channel, subject: "" }, `End all streams of ${each.channel}?`),
  )));
  fill("slowest", report.slowest.map((each) => row(
    cell(each.subject ?? "–", "text"), cell(each.channels.join(", "), "text"),
    cell(numbers.format(each.backlog_bytes), "number"), cell(numbers.format(each.max_backlog_bytes), "number"),
    each.subject === null ? cell("") : button({ channel: "", subject: each.subject }, `End all streams of ${each.subject}?`),
  )));
  if (report.events_seen.length) {
    const now = times.format(Date.now());
    const fresh = report.events_seen.reverse().map((each) => row(
      cell(now), cell(each.channel, "text"), cell(each.type ?? "–"), cell(numbers.format(each.bytes), "number"),
      cell(each.data, "text"),
    ));
    const before = [...document.querySelectorAll("#events tbody tr:not(.none)")];
    fill("events", [...fresh, ...before].slice(0, MOST_EVENTS));
  }
}

function showCounts(report) {
  document.querySelector("#counts").replaceChildren(...Object.entries(NAMES).map(([key, name]) => {
    const pair = document.createElement("div");
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = name;
    value.textContent = key === "pid" ? report[key] : numbers.format(report[key]);
    pair.append(term, value);
    return pair;
  }));
}

function say(state, text) {
  const connection = document.querySelector("#connection");
  connection.dataset.state = state;
  connection.textContent = text;
}

async function send(form, fields) {
  const output = form.querySelector("output");
  output.className = "";
  output.textContent = "";
  let text;
  try {
    const response = await fetch(form.action, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(fields),
    });
    const answer = await response.json();
    output.classList.toggle("bad", !response.ok);
    text = answer.error ?? (answer.receivers === undefined ? "Done." : `Receivers: ${answer.receivers}`);
  } catch (error) {
    output.classList.add("bad");
    text = `No answer: ${error.message}`;
  }
  output.textContent = text;
}

for (const form of document.forms) {
  form.onsubmit = (event) => {
    event.preventDefault();
    send(form, Object.fromEntries(new FormData(form)));
  };
}

const source = new EventSource(document.body.dataset.stream);
source.onopen = () => say("live", "live");
source.onerror = () => source.readyState === EventSource.CLOSED ? say("closed", "not allowed any more") : say("wait", "reconnecting");
source.addEventListener("status", (event) => {
  const report = JSON.parse(event.data);
  const trouble = document.querySelector("#trouble");
  trouble.hidden = !report.broker_away;
  trouble.textContent = "The hub cannot reach the broker: events come as soon as it is back.";
  showCharts(report);
  showTables(report);
  showCounts(report);
});
