// node listen.mjs URL TYPE COUNT
// Prints `open`, then one JSON line for each event of TYPE. Ends after COUNT events; an error ends it with status 1.
import { EventSource } from "eventsource";

const [url, type, count] = process.argv.slice(2);
const source = new EventSource(url);
let left = Number(count);

source.onopen = () => console.log("open");
source.onerror = (error) => {
  console.error(error.message ?? "the stream ended");
  process.exit(1);
};
source.addEventListener(type, ({ type, data, lastEventId }) => {
  console.log(JSON.stringify({ type, data, lastEventId }));
  left -= 1;
  if (left === 0) source.close();
});
