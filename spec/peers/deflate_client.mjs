// npm's ws as a client that compresses: node deflate_client.mjs URL SETTINGS
// SETTINGS is a JSON list of perMessageDeflate options. Ends with the line "done".
import WebSocket from "ws";
const noise = Buffer.from(Array.from({ length: 60000 }, () => Math.random() * 256));
for (const opts of JSON.parse(process.argv[3])) {
  await new Promise((done, failed) => {
    const ws = new WebSocket(process.argv[2], { perMessageDeflate: { threshold: 0, ...opts } });
    const text = Array.from({ length: 120000 }, (_, i) => i).join();
    const sent = ["hello", "", "hello ".repeat(1000), text, noise, "x", text.slice(0, 3000)];
    let i = 0;
    ws.on("open", () => ws.send(sent[0]));
    ws.on("message", (data, binary) => {
      if (!Buffer.from(sent[i]).equals(data)) failed(new Error(`message ${i} changed`));
      if (++i < sent.length) ws.send(sent[i]);
      else { console.log(ws.extensions); ws.close(); done(); }
    });
    ws.on("error", failed);
    ws.on("close", (code) => i < sent.length && failed(new Error(`closed ${code} at ${i}`)));
  });
}
console.log("done");
