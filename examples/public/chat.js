// The chat page. It sends {"name"} once and then {"text"}; it gets {"type"}: "history" with the last
// lines, "say" with a line, "join" and "leave" with a name and the people who are here, "error".
// Whatever others wrote goes into the page as text (textContent), never as markup.
import { connection } from "./connection.js";

const KEEP = 500;       // lines in the page
const TOGETHER = 300;   // seconds within which lines of one person form one block

const $ = (id) => document.getElementById(id);
const lines = $("lines"), text = $("text");

let name = sessionStorage.getItem("weft.name"); // asked once, remembered in this tab
let newest = null;      // the line that was shown last
let alone = true;       // whether the next line starts a block of its own
let unseen = 0;         // lines that came while the tab was hidden

function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content;
  return element;
}

// Everybody has a colour: a hue made from the name, the same on every page.
function avatar(person) {
  let hash = 0;
  for (const char of person) hash = Math.imul(hash, 31) + char.codePointAt(0) >>> 0;
  const face = make("span", "avatar", [...person][0].toUpperCase());
  face.style.setProperty("--hue", hash * 137.5 % 360); // the golden angle: like names, unlike hues
  face.setAttribute("aria-hidden", "true");
  return face;
}

// ---- the lines ---------------------------------------------------------------------------------

// Who reads at the bottom stays at the bottom, also when the room shrinks (a phone's keyboard);
// who has scrolled up stays where they are.
let following = true;

const atBottom = () => lines.scrollHeight - lines.scrollTop - lines.clientHeight < 60;
const toBottom = () => { lines.scrollTop = lines.scrollHeight; };

function append(item, follow = false) {
  following = follow || atBottom();
  lines.append(item);
  while (lines.childElementCount > KEEP) lines.firstElementChild.remove();
  $("empty").hidden = true;
  if (following) toBottom();
  else $("newest").hidden = false;
}

lines.onscroll = () => {
  following = atBottom();
  if (following) $("newest").hidden = true;
};
new ResizeObserver(() => { if (following) toBottom(); }).observe(lines);
$("newest").onclick = toBottom;

function showNote(content, kind = "note") {
  alone = true;
  append(make("li", kind, content));
}

function showLine(line) {
  const mine = line.name === name;
  const follows = !alone && newest.name === line.name && line.time - newest.time < TOGETHER;
  const item = make("li", "line" + (mine ? " mine" : "") + (follows ? " follows" : ""));
  if (!follows) {
    const when = new Date(line.time * 1000), head = make("p", "head");
    const time = make("time", "", when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
    time.dateTime = when.toISOString();
    head.append(make("bdi", "", line.name), time);
    item.append(avatar(line.name), head);
  }
  const bubble = make("p", "bubble", line.text);
  bubble.dir = "auto";
  item.append(bubble);
  newest = line;
  alone = false;
  append(item, mine);
}

// On a return the page knows most of the history already: only what is new is added.
const key = (line) => JSON.stringify([line.time, line.name, line.text]);

function showHistory(history) {
  const known = newest ? history.map(key).lastIndexOf(key(newest)) : -1;
  history.slice(known + 1).forEach(showLine);
}

// ---- the people --------------------------------------------------------------------------------

function showPeople(people) {
  people.sort((a, b) => a.localeCompare(b));
  $("who").replaceChildren(...people.map((person) => {
    const item = make("li", person === name ? "self" : "");
    item.append(avatar(person), make("bdi", "", person));
    return item;
  }));
  for (const count of document.querySelectorAll("[data-count]")) count.textContent = people.length;
}

$("toggle").onclick = () => {
  const open = document.body.classList.toggle("people-open");
  $("toggle").setAttribute("aria-expanded", open);
};

// ---- the connection ----------------------------------------------------------------------------

const heard = {
  history: (it) => showHistory(it.lines),
  say(it) {
    showLine(it);
    if (document.hidden) document.title = `(${++unseen}) weft chat`;
  },
  join(it) {
    showPeople(it.people);
    showNote(`${it.name} joined`);
  },
  leave(it) {
    showPeople(it.people);
    showNote(`${it.name} left`);
  },
  error: (it) => showNote(it.text, "note wrong"),
};

const chat = connection("chat", {
  opened() {
    chat.send({ name });
    ready();
  },
  message(data) {
    const it = JSON.parse(data);
    heard[it.type]?.(it);
  },
  closed(event) {
    ready();
    showPeople([]);
    if (event.code !== 1008) return true;
    ask(event.reason);   // the server refuses this name: no use in trying it again
    return false;
  },
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unseen = 0;
  document.title = "weft chat";
});

// ---- writing -----------------------------------------------------------------------------------

function ready() {
  const left = text.maxLength - text.value.length;
  $("send").disabled = !chat.isOpen() || !text.value.trim();
  $("left").hidden = left > 100;
  $("left").textContent = left;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

text.oninput = ready;

text.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("say").requestSubmit();
};

$("say").onsubmit = (event) => {
  event.preventDefault();
  if (!chat.isOpen() || !text.value.trim()) return; // offline: what is written stays where it is
  chat.send({ text: text.value });
  text.value = "";
  ready();
};

// ---- the name ----------------------------------------------------------------------------------

function ask(wrong = "") {
  chat.stop("Not connected");
  $("wrong").textContent = wrong;
  $("name").value = name ?? "";
  $("ask").showModal();
}

function enter() {
  $("me").hidden = false;
  $("me").querySelector("bdi").textContent = name;
  text.focus();
  chat.start();
}

$("ask").oncancel = (event) => event.preventDefault(); // there is no chat without a name
$("rename").onclick = () => ask();
$("ask").querySelector("form").onsubmit = (event) => {
  name = $("name").value.trim();
  if (!name) return event.preventDefault();
  sessionStorage.setItem("weft.name", name);
  enter();
};

if (name) enter();
else ask();
