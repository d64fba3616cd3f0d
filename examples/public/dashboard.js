// The dashboard: an EventSource, which comes back by itself and is sent what it missed.
import { listOf, make } from "./parts.js";
import { Plot } from "./plot.js";

const SPAN = 120;    // seconds
const FIGURES = [
  { key: "requests", title: "Requests", unit: "per second", digits: 0, least: 10 },
  { key: "connections", title: "Connections", unit: "open now", digits: 0, least: 5 },
  { key: "cpu", title: "Processor", unit: "% of one core", digits: 1, least: 5 },
  { key: "memory", title: "Memory of Lua", unit: "MiB", digits: 2, least: 1 },
  { key: "late", title: "Lateness of the loop", unit: "ms", digits: 2, least: 2 },
];

const $ = (id) => document.getElementById(id);
const still = matchMedia("(prefers-reduced-motion: reduce)");
let numbers = [];    // what the server told, oldest first
let ahead = null;    // its clock minus ours

const cards = FIGURES.map((figure, i) => {
  const card = make("section", "card"), value = make("b", "", "–"), canvas = make("canvas");
  const title = make("h2", "", figure.title), line = make("p");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${figure.title}, the last two minutes`);
  card.style.setProperty("--turn", i);
  line.append(value, " ", make("span", "", figure.unit));
  card.append(title, line, canvas);
  $("plots").append(card);
  const ago = (seconds) => `${seconds} s`;
  return { ...figure, value, plot: new Plot(canvas, { span: SPAN, lines: 3, every: 30, ago }), top: null };
});

const ours = () => performance.now() / 1000;

function take(one) {
  if (numbers.length && one.time <= numbers.at(-1).time) return; // we have it
  numbers.push(one);
  while (numbers[1]?.time < one.time - SPAN - 1) numbers.shift();
  ahead = Math.max(ahead ?? -Infinity, one.time - ours());
  for (const { key, digits, value } of cards) value.textContent = one[key].toFixed(digits);
  if (still.matches) draw();
}

function show(state, text) {
  $("status").dataset.state = state;
  $("status").firstElementChild.textContent = text;
}

// Another server has another clock.
function forget() {
  numbers = [];
  ahead = null;
}

function draw() {
  if (ahead === null) return;
  for (const card of cards) {
    const points = numbers.map((one) => [one.time, one[card.key]]);
    const wanted = Math.max(card.least, ...points.map((point) => point[1] * 1.15));
    const part = still.matches || card.top === null ? 1 : wanted > card.top ? 0.5 : 0.08;
    card.top += (wanted - card.top) * part; // up at once, down gently
    card.plot.draw(points, still.matches ? numbers.at(-1).time : ours() + ahead - 0.6, [0, card.top]);
  }
}

let drawn = 0;

(function frame(now = 0) { // the curves move by some pixels a second: ten pictures are plenty
  if (!still.matches && now - drawn > 90) {
    drawn = now;
    draw();
  }
  requestAnimationFrame(frame);
})();

$("load").onclick = async () => {
  $("load").disabled = true;
  for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 10 }, async () => (await fetch("work")).text()));
  $("load").disabled = false;
};

async function fetchRecent() {
  try {
    const recent = await (await fetch("recent")).json();
    if (!numbers.length) listOf(recent).forEach((entry) => take(entry.message));
  } catch { /* the live ones will do */ }
}

function begin() {
  forget();
  show("connecting", "Connecting …");
  const source = new EventSource("numbers");
  source.onopen = () => show("open", "Connected");
  source.onerror = () => {
    show("waiting", "Offline, trying again");
    if (source.readyState === EventSource.CLOSED) setTimeout(begin, 2000); // it has given up
  };
  source.onmessage = (event) => take(JSON.parse(event.data));
  source.addEventListener("reset", forget);
  fetchRecent();
}

begin();
