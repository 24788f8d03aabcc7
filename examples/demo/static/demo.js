"use strict";

const MINUTE = 60;
const MESSAGES_SHOWN = 50;
const STALLED_MS = 3000;

const element = (id) => document.getElementById(id);

function show(id, text) {
  // Written only when it differs: screen readers read out every change of a status.
  if (element(id).textContent !== String(text)) element(id).textContent = text;
}

// -- the stream: one plain EventSource, and an event type for each part of the page --------------------

const stream = new EventSource(document.body.dataset.stream);

function on(type, listener) {
  stream.addEventListener(type, (event) => listener(JSON.parse(event.data)));
}

function connectionIs(state) {
  element("connection").dataset.state = state;
  show("connection", state);
}

stream.onopen = () => connectionIs("live");
stream.onerror = () => connectionIs(stream.readyState === EventSource.CLOSED ? "closed" : "reconnecting");

on("streams", ({ open }) => {
  show("streams", open);
  show("streams-noun", open === 1 ? "open stream" : "open streams");
  show("streams-sentence", open === 1 ? "1 stream is open." : `${open} streams are open.`);
});

// -- the feed -------------------------------------------------------------------------------------------

const readings = [];

on("reading", ({ name, percent, memory }) => {
  readings.push(percent);
  if (readings.length > MINUTE) readings.shift();
  show("feed-name", name);
  show("feed-value", percent.toFixed(1));
  show("feed-memory", memory === undefined ? "" : `memory in use ${memory.toFixed(1)} %`);
  show("feed-time", `last at ${new Date().toLocaleTimeString()}`);
  draw();
});

function draw() {
  const first = MINUTE - readings.length;
  const points = readings.map((percent, index) => `${first + index} ${(100 - percent).toFixed(1)}`);
  element("chart-line").setAttribute("d", `M${points.join("L")}`);
  element("chart-area").setAttribute("d", `M${first} 100L${points.join("L")}V100Z`);
}

// -- messages ---------------------------------------------------------------------------------------------

on("chat", ({ text }) => {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const words = document.createElement("span");
  time.textContent = new Date().toLocaleTimeString();
  words.textContent = text;
  item.append(time, words);
  element("messages").prepend(item);
  if (element("messages").children.length > MESSAGES_SHOWN) element("messages").lastChild.remove();
});

element("chat").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { ok, answer, milliseconds } = await post(event.target.action, { text: element("text").value });
  if (!ok) {
    show("chat-result", answer.error);
    return;
  }
  show("answer-time", milliseconds.toFixed(1));
  const streams = answer.receivers === 1 ? "1 stream" : `${answer.receivers} streams`;
  show("chat-result", `Answered in ${milliseconds.toFixed(1)} ms, sent to ${streams}.`);
  element("text").value = "";
});

// -- the job ----------------------------------------------------------------------------------------------

let stalled;

on("progress", ({ done, total, pid }) => {
  const percent = Math.round((100 * done) / total);
  element("progress").value = percent;
  show("percent", `${percent} %`);
  clearTimeout(stalled);
  element("start").disabled = percent < 100;
  if (percent < 100) {
    show("job-result", `Process ${pid} is at work.`);
    stalled = setTimeout(jobStalled, STALLED_MS);
  } else {
    show("job-result", `Process ${pid} is done.`);
  }
});

function jobStalled() {
  element("start").disabled = false;
  show("job-result", "No progress from the job for a while.");
}

element("job").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { ok, answer } = await post(event.target.action, {});
  if (!ok) show("job-result", answer.error);
});

// -- an ordinary request ------------------------------------------------------------------------------------

// The first one was that of the page itself.
const [page] = performance.getEntriesByType("navigation");
if (page) show("answer-time", (page.responseEnd - page.requestStart).toFixed(1));

async function post(url, body) {
  const began = performance.now();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const milliseconds = performance.now() - began;
    const isJson = response.headers.get("Content-Type") === "application/json";
    const answer = isJson ? await response.json() : { error: `The server says: ${response.statusText}.` };
    return { ok: response.ok, answer, milliseconds };
  } catch {
    return { ok: false, answer: { error: "The server does not answer. Is it running?" } };
  }
}
