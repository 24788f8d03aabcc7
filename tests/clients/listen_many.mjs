// node listen_many.mjs, with a line of JSON on its standard input:
// {"urls": [...], "types": [...], "maxRetryMilliseconds": 500}
// Listens at all URLs until its standard input ends. Prints a line of JSON for each thing that a client sees;
// the client is its number among the URLs:
// {"client", "what": "open", "sent"}  sent: the Last-Event-ID of the request
// {"client", "what": "event", "type", "data", "lastEventId"}
// {"client", "what": "error", "closed", "message"}  closed: whether it gave up
import { createInterface } from "node:readline";
import { EventSource } from "eventsource";

const print = (line) => console.log(JSON.stringify(line));

function listen(client, url, types) {
  let sent = "";
  const source = new EventSource(url, {
    fetch: (input, init) => {
      sent = init.headers["Last-Event-ID"] ?? "";
      return fetch(input, init);
    },
  });
  source.onopen = () => print({ client, what: "open", sent });
  source.onerror = ({ message }) =>
    print({ client, what: "error", closed: source.readyState === EventSource.CLOSED, message });
  for (const each of types) {
    source.addEventListener(each, ({ type, data, lastEventId }) =>
      print({ client, what: "event", type, data, lastEventId }),
    );
  }
}

const input = createInterface({ input: process.stdin });
input.once("line", (line) => {
  const { urls, types, maxRetryMilliseconds } = JSON.parse(line);
  // The only timers here are those of clients that wait before they come back.
  const wait = globalThis.setTimeout;
  globalThis.setTimeout = (call, milliseconds, ...more) =>
    wait(call, Math.min(milliseconds, maxRetryMilliseconds), ...more);
  urls.forEach((url, client) => listen(client, url, types));
});
input.once("close", () => process.exit(0));
