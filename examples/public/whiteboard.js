// The whiteboard. A stroke is { id, colour, width, points: [x, y, x, y, …] } on a board of 1600 by
// 1000. While one is drawn its pieces go out several times a second, each beginning where the last
// one ended. Everybody draws what comes from the server, in its order, so all boards are the same.
import { Weft } from "/weft.js";
import { listOf, make, showStatus } from "./parts.js";

const WIDTH = 1600, HEIGHT = 1000;
const KEEP = 5000;      // strokes, as many as the server's history has
const EVERY = 60;       // milliseconds between two pieces
const PENS = ["#1d1f27", "#3947a8", "#0f8a8a", "#2c8a57", "#e0a000", "#d95b1a", "#c2264b", "#8b3fb0"];
const WIDTHS = [4, 10, 24];

const $ = (id) => document.getElementById(id);
const board = $("board"), pen = board.getContext("2d");

let strokes = [];       // what the server has told
let ours = [];          // what is ours and has not come back yet
let colour = 1, width = 10;

const weft = new Weft(), room = weft.subscribe("board");
showStatus(weft);

// ---- drawing ---------------------------------------------------------------------------------

function fit() {
  const box = board.getBoundingClientRect(), ratio = devicePixelRatio;
  board.width = Math.round(box.width * ratio);
  board.height = Math.round(box.height * ratio);
  pen.setTransform(board.width / WIDTH, 0, 0, board.height / HEIGHT, 0, 0);
  pen.lineCap = pen.lineJoin = "round";
  [...strokes, ...ours].forEach(draw);
}

// Through the middle of each two points: a curve without corners.
function draw({ points, colour: index, width: thickness }) {
  pen.strokeStyle = pen.fillStyle = PENS[index] ?? PENS[0];
  pen.lineWidth = thickness;
  pen.beginPath();
  if (points.every((at, i) => at === points[i % 2])) { // a canvas shows nothing of a line without length
    pen.arc(points[0], points[1], thickness / 2, 0, 2 * Math.PI);
    return pen.fill();
  }
  pen.moveTo(points[0], points[1]);
  for (let i = 2; i < points.length - 2; i += 2) {
    pen.quadraticCurveTo(points[i], points[i + 1], (points[i] + points[i + 2]) / 2, (points[i + 1] + points[i + 3]) / 2);
  }
  pen.lineTo(points.at(-2), points.at(-1));
  pen.stroke();
}

function take(it) {
  ours = ours.filter((one) => one.id !== it.id);
  if (it.clear) {
    strokes = [];
    return fit();
  }
  strokes.push(it);
  if (strokes.length > KEEP) strokes.shift(); // it goes when all is drawn anew
  draw(it);
  $("hint").hidden = true;
}

room.on("message", take);
room.on("presence", (here) => { $("count").textContent = here.length; });
room.on("state", (state) => {
  if (state !== "subscribed" || strokes.length) return;
  listOf(room.data.strokes).forEach((entry) => take(entry.message));
});
room.on("reset", () => {
  strokes = [];
  fit();
});
new ResizeObserver(fit).observe(board);

// ---- our own ---------------------------------------------------------------------------------

let points = null, timer = 0, number = 0;
const me = Math.random().toString(36).slice(2);

function send() {
  clearTimeout(timer);
  timer = 0;
  if (!points || points.length < 4) return;
  const piece = { id: `${me} ${++number}`, colour, width, points };
  points = points.slice(-2);
  ours.push(piece);
  room.publish(piece).catch(() => { // nobody got it, so it is not on the board
    ours = ours.filter((one) => one !== piece);
    fit();
  });
}

const place = (event) => {
  const box = board.getBoundingClientRect();
  return [Math.round((event.clientX - box.left) / box.width * WIDTH), Math.round((event.clientY - box.top) / box.height * HEIGHT)];
};

board.onpointerdown = (event) => {
  if (event.button) return;
  board.setPointerCapture(event.pointerId);
  const at = place(event);
  points = [...at, ...at]; // a dot
  draw({ points, colour, width });
  $("hint").hidden = true;
};

board.onpointermove = (event) => {
  if (!points) return;
  for (const one of event.getCoalescedEvents?.() ?? [event]) {
    const at = place(one);
    draw({ points: [...points.slice(-2), ...at], colour, width });
    points.push(...at);
  }
  if (points.length >= 300) send();
  timer ||= setTimeout(send, EVERY);
};

board.onpointerup = board.onpointercancel = () => {
  send();
  points = null;
};

// ---- the tools -------------------------------------------------------------------------------

function choices(parent, values, chosen, label, paint, choose) {
  parent.append(...values.map((value, i) => {
    const button = make("button", "pen");
    Object.assign(button, { type: "button", role: "radio", ariaChecked: value === chosen || i === chosen, title: label(value) });
    paint(button, value);
    button.onclick = () => {
      for (const one of parent.children) one.ariaChecked = one === button;
      choose(value, i);
    };
    return button;
  }));
}

const NAMES = ["Ink", "Indigo", "Teal", "Green", "Ochre", "Orange", "Madder", "Violet"];
choices($("colours"), PENS, colour, (value) => NAMES[PENS.indexOf(value)],
  (button, value) => button.style.setProperty("--pen", value), (_, i) => { colour = i; });
choices($("widths"), WIDTHS, width, (value) => `${value} wide`,
  (button, value) => button.style.setProperty("--size", `${Math.min(22, 4 + value * 0.75)}px`), (value) => { width = value; });
$("clear").onclick = () => room.publish(null, { event: "clear" });
