// better-sse as its documentation teaches: one channel; the body of a POST is broadcast.
import { createServer } from "node:http";
import { createChannel, createSession } from "better-sse";

const channel = createChannel();

const server = createServer(async (request, response) => {
  if (request.method === "GET") {
    channel.register(await createSession(request, response));
    return;
  }
  let body = "";
  for await (const piece of request) body += piece;
  channel.broadcast(body);
  response.end();
});
server.keepAliveTimeout = 0; // the publisher's connection rests between rounds
server.listen(Number(process.argv[2]), "127.0.0.1", 2048);
