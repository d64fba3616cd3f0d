// The push page. The server sends arrays of [seconds, value]: the last half minute at first, then
// each value as it comes. The plot moves evenly by the clock, not in jerks by arrival.
import { connection } from "./connection.js";

const SPAN = 30;     // seconds from the left edge to the right one
const BEHIND = 0.15; // seconds the right edge stays behind, so that a value is there when it is due

const $ = (id) => document.getElementById(id);
const canvas = $("plot"), pen = canvas.getContext("2d");
const still = matchMedia("(prefers-reduced-motion: reduce)");

let points = [];     // [seconds of the server, value], oldest first
let ahead = null;    // the server's clock minus ours; the quickest message tells it best
let range = null;    // [bottom, top] of the axis, which follows the values gently

const ours = () => performance.now() / 1000;

connection("live", {
  opened() {         // perhaps another server, with another clock
    points = [];
    ahead = null;
  },
  message(data) {
    const fresh = JSON.parse(data);
    if (!fresh.length) return;
    points.push(...fresh);
    const newest = points.at(-1);
    ahead = Math.max(ahead ?? -Infinity, newest[0] - ours());
    while (points[1]?.[0] < newest[0] - SPAN - 1) points.shift();
    showFigures(newest);
    if (still.matches) draw();
  },
}).start();

function showFigures([time, value]) {
  const values = points.map((point) => point[1]);
  $("value").textContent = value.toFixed(1);
  $("low").textContent = Math.min(...values).toFixed(1);
  $("high").textContent = Math.max(...values).toFixed(1);
  $("rate").textContent = points.filter((point) => point[0] > time - 2).length / 2;
}

// The canvas has as many pixels as the screen shows, whatever its ratio: crisp lines.
function fit() {
  const ratio = devicePixelRatio, { width, height } = canvas.getBoundingClientRect();
  const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return [width, height];
}

function follow() {
  const values = points.map((point) => point[1]);
  const low = Math.min(...values), high = Math.max(...values), room = Math.max(2, (high - low) * 0.15);
  const wanted = [low - room, high + room];
  range = range && !still.matches ? range.map((edge, i) => edge + (wanted[i] - edge) * 0.06) : wanted;
}

// Grid lines at round values: 1, 2 or 5 times a power of ten, about five of them.
function step(extent) {
  const rough = extent / 5, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((times) => times * power >= rough);
}

function drawGrid(left, width, height, y, x, edge, colours) {
  pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
  pen.fillStyle = colours.soft;
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const gap = step(range[1] - range[0]);
  for (let value = Math.ceil(range[0] / gap) * gap; value <= range[1]; value += gap) {
    const at = Math.round(y(value)) + 0.5;
    pen.moveTo(left, at);
    pen.lineTo(width, at);
    pen.fillText(+value.toFixed(6), left - 8, at);
  }
  pen.stroke();
  pen.textAlign = "center";
  const every = width < 600 ? 10 : 5;
  for (let ago = every; ago < SPAN; ago += every) pen.fillText(`${ago} s ago`, x(edge - ago), height - 8);
}

function draw() {
  const [width, height] = fit();
  if (points.length < 2) return;
  follow();
  const style = getComputedStyle(document.documentElement);
  const colours = Object.fromEntries(["soft", "line", "accent"].map((it) => [it, style.getPropertyValue("--" + it)]));
  const left = 40, right = width - 10, bottom = height - 24;
  const edge = still.matches ? points.at(-1)[0] : ours() + ahead - BEHIND;
  const x = (time) => right - (edge - time) / SPAN * (right - left);
  const y = (value) => bottom - (value - range[0]) / (range[1] - range[0]) * bottom;
  drawGrid(left, width, height, y, x, edge, colours);

  // What is newer than the edge is not due yet: the curve ends at the edge, between two values.
  const due = points.filter((point) => point[0] <= edge), next = points[due.length];
  if (!due.length) return;
  let tip = due.at(-1);
  if (next) {
    const part = (edge - tip[0]) / (next[0] - tip[0]);
    tip = [edge, tip[1] + (next[1] - tip[1]) * part];
  }
  const curve = new Path2D();
  for (const [time, value] of [...due, tip]) curve.lineTo(x(time), y(value));

  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width - left, bottom);
  pen.clip();
  const area = new Path2D(curve), fade = pen.createLinearGradient(0, 0, 0, bottom);
  area.lineTo(x(tip[0]), bottom);
  area.lineTo(x(due[0][0]), bottom);
  fade.addColorStop(0, colours.accent);
  fade.addColorStop(1, `color-mix(in srgb, ${colours.accent} 0%, transparent)`);
  pen.globalAlpha = 0.18;
  pen.fillStyle = fade;
  pen.fill(area);
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.accent;
  pen.lineWidth = 2;
  pen.lineJoin = "round";
  pen.stroke(curve);
  pen.restore();

  pen.fillStyle = colours.accent;
  pen.beginPath();
  pen.arc(x(tip[0]), y(tip[1]), 4.5, 0, 2 * Math.PI);
  pen.fill();
}

(function frame() {
  if (!still.matches) draw();
  requestAnimationFrame(frame);
})();
