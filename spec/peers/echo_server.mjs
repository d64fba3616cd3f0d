// npm's ws as a server for weft's client: prints {"port", "deflate_port"}, and a JSON line for every
// connection that ends. It echoes; a text that begins with "!" is an order. The orders are those of
// echo_server.py.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createPlain } from "node:http";
import { createServer as createSecure } from "node:https";
import { WebSocketServer } from "ws";

// TLS when the environment has a certificate
const { TLS_CERT, TLS_KEY } = process.env;
const createServer = () => TLS_CERT
  ? createSecure({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) })
  : createPlain();

const orders = {
  close(ws, rest) {
    const [, code, reason] = rest.match(/^(\d+) ?(.*)$/);
    ws.close(+code, reason);
  },
  header: (ws, name, request) => ws.send(request.headers[name] ?? "(none)"),
  path: (ws, _, request) => ws.send(request.url),
  async ping(ws, payload) {
    ws.ping(payload);
    const [pong] = await once(ws, "pong");
    ws.send(pong.toString() === payload ? "pong" : "another pong");
  },
  fragment(ws, text) { // one byte in each fragment, and a ping after each
    const data = Buffer.from(text);
    for (let i = 0; i < data.length; i++) {
      ws.send(data.subarray(i, i + 1), { binary: false, fin: i === data.length - 1 });
      if (i < data.length - 1) ws.ping(String(i));
    }
  },
  burst(ws, count) {
    for (let i = 0; i < +count; i++) ws.send(`${i} ` + "y".repeat(i * 37 % 2000));
  },
  drop: (ws) => ws.terminate(),
};

async function serve(perMessageDeflate) {
  const offered = ["peer.v2", "peer.v1"];
  const http = createServer();
  const server = new WebSocketServer({
    server: http, perMessageDeflate,
    handleProtocols: (protocols) => offered.find((one) => protocols.has(one)) ?? false,
  });
  server.on("connection", (ws, request) => {
    ws.on("message", (data, binary) => {
      const [, order, rest] = (!binary && data.toString().match(/^!(\w+) ?(.*)$/)) || [];
      if (order) orders[order](ws, rest, request);
      else ws.send(data, { binary });
    });
    ws.on("error", () => {});
    ws.on("close", (code, reason) =>
      console.log(JSON.stringify({ path: request.url, code, reason: reason.toString() })));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return http.address().port;
}

console.log(JSON.stringify({ port: await serve(false), deflate_port: await serve({ threshold: 0 }) }));
