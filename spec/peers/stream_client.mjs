// npm's ws as a client of an echo by pieces: stream_client.mjs URL. Sends fragmented messages, plain
// and compressed, and checks what comes back. Ends with "done".
import { once } from "node:events";
import WebSocket from "ws";

function* pieces(data, size) {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function exchange(ws, parts, binary) {
  const answer = once(ws, "message");
  parts.forEach((part, i) => ws.send(part, { binary, fin: i === parts.length - 1 }));
  const [data, isBinary] = await answer;
  if (isBinary !== binary || Buffer.compare(data, Buffer.concat(parts)) !== 0) {
    throw new Error(`${data.length} bytes came back, of ${Buffer.concat(parts).length}`);
  }
}

const text = Buffer.from(Array.from({ length: 200000 }, (_, i) => `${i} €𝄞é,`).join(""));
const data = Buffer.alloc(3 << 20, Uint8Array.from({ length: 256 }, (_, i) => i));
for (const perMessageDeflate of [false, { threshold: 0 }]) {
  const ws = new WebSocket(process.argv[2], { perMessageDeflate });
  await once(ws, "open");
  await exchange(ws, [Buffer.from("a")], false);
  await exchange(ws, [...pieces(Buffer.from("é€𝄞"), 1)], false); // inside of characters
  await exchange(ws, [...pieces(text, 7001)], false);
  await exchange(ws, [...pieces(data, 65537)], true);
  await exchange(ws, [Buffer.alloc(0), Buffer.from("x"), Buffer.alloc(0)], true);
  console.log(ws.extensions);
  ws.close();
  await once(ws, "close");
}
console.log("done");
