// The notices page: an EventSource, which comes back by itself and is sent what it missed. A notice
// is JSON { title, text, level }, or just a text.
import { make } from "./parts.js";

const KEEP = 50;
const $ = (id) => document.getElementById(id);
let last = "";      // the id of the last event, for an EventSource that begins anew

const LEVELS = ["info", "good", "warning", "bad"];

function show(state, text) {
  $("status").dataset.state = state;
  $("status").firstElementChild.textContent = text;
}

function read(data) {
  try {
    const it = JSON.parse(data);
    if (it && typeof it === "object") return it;
  } catch { /* a text, then */ }
  return { title: data };
}

function add(event) {
  const { title = "Notice", text = "", level } = read(event.data), now = new Date();
  const item = make("li", "notice"), time = make("time", "", now.toLocaleTimeString());
  item.dataset.level = LEVELS.includes(level) ? level : "info";
  time.dateTime = now.toISOString();
  item.append(make("h2", "", String(title)), time);
  if (text) item.append(make("p", "", String(text)));
  $("notices").prepend(item);
  $("how").classList.add("small");
  $("how").firstElementChild.textContent = "Send another one";
  while ($("notices").childElementCount > KEEP) $("notices").lastElementChild.remove();
  if (document.hidden) document.title = `● ${title}`;
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) document.title = "weft notify"; });

$("command").textContent = `curl ${location.origin}/publish \\
  -H "authorization: Bearer $TOKEN" \\
  -d topic=notices \\
  -d 'data={"title":"Backup done","text":"42 GB in 7 minutes","level":"good"}'`;

(function begin() {
  show("connecting", "Connecting …");
  const source = new EventSource(`notices?${new URLSearchParams(last && { last_event_id: last })}`);
  source.onopen = () => show("open", "Connected");
  source.onmessage = (event) => {
    last = event.lastEventId;
    add(event);
  };
  source.onerror = () => {
    show("waiting", "Offline, trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(begin, 2000); // it has given up
  };
})();
