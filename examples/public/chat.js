// The chat page: a room is a topic "room.NAME" on one connection. A line is { name, text, time };
// the event "typing" says that somebody writes. Whatever others wrote goes into the page as text.
import { Weft } from "/weft.js";
import { avatar, listOf, make, onceAFrame, showStatus } from "./parts.js";

const ROOMS = ["lobby", "workshop", "random"];
const KEEP = 500;       // lines of a room in the page
const TOGETHER = 300;   // seconds within which lines of one person form one block
const TYPING = 3000;    // milliseconds that somebody counts as writing
const ORDER = new Intl.Collator();
const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });

const $ = (id) => document.getElementById(id);
const text = $("text");
const weft = new Weft();

let name = sessionStorage.getItem("weft.name"); // asked once, remembered in this tab
let current = null;     // the room that is shown

// ---- a room and its lines ----------------------------------------------------------------------

class Place {
  newest = null;        // the line that was shown last
  alone = true;         // whether the next line starts a block of its own
  unseen = 0;
  following = true;     // who reads at the bottom stays there, who has scrolled up stays, too
  typing = new Map();   // name -> timer
  coming = [];          // what the next frame puts into the list, the newest KEEP of it
  ours = false;         // whether any of it is
  flushLater = onceAFrame(() => this.flush());

  constructor(title) {
    this.title = title;
    this.list = make("ol", "lines");
    Object.assign(this.list, { tabIndex: 0, hidden: true, role: "log", ariaLabel: `Messages in ${title}` });
    this.list.onscroll = () => {
      this.following = this.atBottom();
      if (this.following) $("newest").hidden = true;
    };
    new ResizeObserver(() => { if (this.following) this.toBottom(); }).observe(this.list);
    $("main").prepend(this.list);
    this.button = make("button", "room", title);
    this.button.type = "button";
    this.badge = make("b", "badge");
    this.badge.hidden = true;
    this.button.append(this.badge);
    this.button.onclick = () => { location.hash = title; };
    $("rooms").append(this.button);
  }

  enter() {
    if (this.room && this.room.state !== "unsubscribed") return;
    const room = this.room = weft.subscribe(`room.${this.title}`, { params: () => ({ name }) });
    room.on("message", (data, { event }) => event === "typing" ? this.showTyping(data.name) : this.hear(data));
    room.on("presence", (_, change) => this.showPeople(change));
    room.on("recovered", (count) => { if (count) this.note(`Back again: ${count} came meanwhile`); });
    room.on("reset", () => this.note("The server began anew: something may be missing here"));
    room.on("error", (error) => { if (error.code === "bad_name") ask(error.message); });
    room.on("state", (state) => {
      for (const who of this.typing.keys()) this.stopTyping(who);
      if (state === "subscribed") this.showHistory(room.data.lines);
    });
  }

  atBottom() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 60;
  }

  toBottom() {
    this.list.scrollTop = this.list.scrollHeight;
  }

  // To ask where the list stands, and to set it, costs a layout: so it is done once for many items.
  put(items, follow, below = null) {
    this.following = follow || this.list.hidden || this.atBottom();
    const all = document.createDocumentFragment();
    all.append(...items);
    this.list.insertBefore(all, below);
    while (this.list.childElementCount > KEEP) this.list.firstElementChild.remove();
    if (this.following) this.toBottom();
    if (this === current) {
      $("empty").hidden = true;
      $("newest").hidden = this.following;
    }
  }

  append(item, ours = false) {
    if (this.coming.push(item) > KEEP) this.coming.shift();
    this.ours ||= ours;
    this.flushLater();
  }

  flush() {
    const { coming, ours } = this;
    if (!coming.length) return;
    Object.assign(this, { coming: [], ours: false });
    this.put(coming, ours, this.list.querySelector(".waiting")); // what waits to be sent stays below
  }

  note(content, className = "note") {
    this.alone = true;
    this.append(make("li", className, content));
  }

  showLine(line) {
    const mine = line.name === name;
    const follows = !this.alone && this.newest.name === line.name && line.time - this.newest.time < TOGETHER;
    const item = make("li", `line${mine ? " mine" : ""}${follows ? " follows" : ""}`);
    if (!follows) item.append(avatar(line.name), head(line));
    item.append(bubble(line.text));
    this.newest = line;
    this.alone = false;
    this.append(item, mine);
  }

  // After a return the page knows most of it already: only what is new is added.
  showHistory(history) {
    const lines = listOf(history).map((entry) => entry.message);
    const key = (line) => JSON.stringify([line.time, line.name, line.text]);
    const known = this.newest ? lines.map(key).lastIndexOf(key(this.newest)) : -1;
    lines.slice(known + 1).forEach((line) => this.showLine(line));
  }

  hear(line) {
    this.stopTyping(line.name);
    this.showLine(line);
    if (this !== current || document.hidden) this.unseen++;
    showUnseen();
  }

  // What is sent stands below the lines until the server has taken it.
  async say(content) {
    const item = make("li", "line mine waiting"), words = bubble(content);
    item.append(words);
    this.flush();
    this.put([item], true);
    try {
      await this.room.publish({ text: content });
      this.flush(); // it is among these
      item.remove();
    } catch (error) {
      item.classList.add("failed");
      const again = make("button", "quiet", "Not sent. Try again");
      again.title = error.message;
      again.onclick = () => {
        item.remove();
        this.say(content);
      };
      item.append(again);
      if (this.following) this.toBottom();
    }
  }

  showTyping(who) {
    if (who === name) return;
    this.stopTyping(who);
    this.typing.set(who, setTimeout(() => this.stopTyping(who), TYPING));
    showWriting();
  }

  stopTyping(who) {
    clearTimeout(this.typing.get(who));
    this.typing.delete(who);
    showWriting();
  }

  showPeople(change) {
    if (change?.event === "join") this.note(`${change.user.id} joined`);
    if (change?.event === "leave") this.note(`${change.user.id} left`);
    if (this === current) showPeople();
  }
}

function head(line) {
  const when = new Date(line.time * 1000), element = make("p", "head");
  const time = make("time", "", CLOCK.format(when));
  time.dateTime = when.toISOString();
  element.append(make("bdi", "", line.name), time);
  return element;
}

function bubble(content) {
  const element = make("p", "bubble", content);
  element.dir = "auto";
  return element;
}

// ---- what is beside the lines --------------------------------------------------------------------

const showPeople = onceAFrame(() => {
  const names = (current.room?.presence ?? []).map((one) => one.id).sort(ORDER.compare);
  $("who").replaceChildren(...names.map((person) => {
    const item = make("li", person === name ? "self" : "");
    item.append(avatar(person), make("bdi", "", person));
    return item;
  }));
  for (const count of document.querySelectorAll("[data-count]")) count.textContent = names.length;
});

function showWriting() {
  const names = [...current?.typing.keys() ?? []];
  $("writing").textContent = !names.length ? ""
    : names.length > 2 ? "Several people are writing …"
    : `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} writing …`;
}

function showUnseen() {
  if (current && !document.hidden) current.unseen = 0;
  let total = 0;
  for (const place of places.values()) {
    total += place.unseen;
    place.badge.hidden = !place.unseen;
    place.badge.textContent = place.unseen;
  }
  document.title = total ? `(${total}) weft chat` : "weft chat";
}

document.addEventListener("visibilitychange", showUnseen);

$("toggle").onclick = () => {
  const open = document.body.classList.toggle("people-open");
  $("toggle").setAttribute("aria-expanded", open);
};

// ---- going from room to room ---------------------------------------------------------------------

const places = new Map(ROOMS.map((title) => [title, new Place(title)]));

// #anything is a room, too; it comes to the list when it is visited.
function wantedRoom() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch { // a lone %
    return "";
  }
}

function visit() {
  const wanted = wantedRoom();
  const title = /^[\p{L}\p{N}_-]{1,30}$/u.test(wanted) ? wanted : ROOMS[0];
  if (!places.has(title)) places.set(title, new Place(title));
  current = places.get(title);
  if (name) current.enter();
  for (const place of places.values()) {
    place.list.hidden = place !== current;
    place.button.ariaCurrent = place === current ? "page" : null;
  }
  current.flush();
  $("where").textContent = title;
  $("empty").hidden = current.list.childElementCount > 0;
  $("newest").hidden = true;
  current.toBottom();
  showPeople();
  showUnseen();
  showWriting();
  ready();
}

addEventListener("hashchange", visit);
$("newest").onclick = () => current.toBottom();

// ---- writing -------------------------------------------------------------------------------------

let told = 0; // when we said last that we are writing

function ready() {
  const left = text.maxLength - text.value.length;
  $("send").disabled = !text.value.trim();
  $("left").hidden = left > 100;
  $("left").textContent = left;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

text.oninput = () => {
  ready();
  if (!text.value || performance.now() - told < TYPING / 2) return;
  told = performance.now();
  current.room.publish(null, { event: "typing", volatile: true });
};

text.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("say").requestSubmit();
};

$("say").onsubmit = (event) => {
  event.preventDefault();
  if (!text.value.trim()) return;
  current.say(text.value);
  text.value = "";
  told = 0;
  ready();
};

// ---- the name ------------------------------------------------------------------------------------

function ask(wrong = "") {
  weft.close();
  $("wrong").textContent = wrong;
  $("name").value = name ?? "";
  if (!$("ask").open) $("ask").showModal();
}

function enter() {
  $("me").hidden = false;
  $("me").querySelector("bdi").textContent = name;
  for (const place of places.values()) place.enter();
  weft.connect();
  text.focus();
}

$("ask").oncancel = (event) => event.preventDefault(); // there is no chat without a name
$("rename").onclick = () => ask();
$("ask").querySelector("form").onsubmit = (event) => {
  name = $("name").value.trim();
  if (!name) return event.preventDefault();
  sessionStorage.setItem("weft.name", name);
  enter();
};

showStatus(weft);
visit();
if (name) enter();
else ask();
