// Everybody's mouse. A place is { id, x, y }, shares of the field; the event "wave" is a click.
// Places are volatile: where the mouse was a moment ago is worth nothing.
import { Weft } from "/weft.js";
import { hueOf, make, showStatus } from "./parts.js";

const $ = (id) => document.getElementById(id);
const field = $("field"), cursors = new Map(); // id -> { element, x, y, toX, toY }
const still = matchMedia("(prefers-reduced-motion: reduce)");
const WAVE = 900; // milliseconds, as in style.css
const SVG = "http://www.w3.org/2000/svg";

const weft = new Weft(), room = weft.subscribe("cursors");
showStatus(weft);

function arrow() {
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  path.setAttribute("d", "M3 2 L20 10.5 L12.5 12.8 L9.2 20 Z");
  svg.append(path);
  return svg;
}

function cursorOf(id, x, y) {
  let cursor = cursors.get(id);
  if (!cursor) {
    const element = make("div", "cursor");
    element.style.setProperty("--hue", hueOf(id));
    element.append(arrow(), make("span", "", id));
    field.append(element);
    cursors.set(id, cursor = { element, x, y });
  }
  return Object.assign(cursor, { toX: x, toY: y });
}

function remove(id) {
  cursors.get(id)?.element.remove();
  cursors.delete(id);
}

function wave({ id, x, y }) {
  const ring = make("i", "wave");
  ring.style.setProperty("--hue", hueOf(id));
  ring.style.left = `${100 * x}%`;
  ring.style.top = `${100 * y}%`;
  setTimeout(() => ring.remove(), WAVE); // an animation that is not shown has no end
  field.append(ring);
}

room.on("message", (at, { event }) => {
  if (event === "wave") wave(at);
  if (at.id !== room.data.you) cursorOf(at.id, at.x, at.y);
});

room.on("presence", (here) => {
  const ids = new Set(here.map((one) => one.id));
  for (const id of cursors.keys()) if (!ids.has(id)) remove(id);
  $("count").textContent = ids.size;
});

// ---- our own ---------------------------------------------------------------------------------

let next = null; // where the mouse is, until the next frame sends it

const place = (event) => {
  const box = field.getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
};

field.onpointermove = (event) => { next = place(event); };
field.onpointerdown = (event) => {
  $("hint").classList.add("gone");
  room.publish(place(event), { event: "wave", volatile: true });
};

// Sends at most once a frame, and lets each cursor glide to where it was seen last.
(function frame() {
  if (next) room.publish(next, { volatile: true });
  next = null;
  for (const cursor of cursors.values()) {
    const part = still.matches ? 1 : 0.35;
    cursor.x += (cursor.toX - cursor.x) * part;
    cursor.y += (cursor.toY - cursor.y) * part;
    cursor.element.style.left = `${100 * cursor.x}%`;
    cursor.element.style.top = `${100 * cursor.y}%`;
  }
  requestAnimationFrame(frame);
})();
