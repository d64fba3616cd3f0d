// The push page. A message is [seconds, value]; joining brings the last half minute. The plot moves
// evenly by the clock, not in jerks by arrival.
import { Weft } from "/weft.js";
import { listOf, showStatus } from "./parts.js";
import { Plot } from "./plot.js";

const SPAN = 30;     // seconds from the left edge to the right one
const BEHIND = 0.15; // seconds the right edge stays behind, so that a value is there when it is due

const $ = (id) => document.getElementById(id);
const plot = new Plot($("plot"), { span: SPAN });
const still = matchMedia("(prefers-reduced-motion: reduce)");

let points = [];     // [seconds of the server, value], oldest first
let ahead = null;    // the server's clock minus ours; the quickest message tells it best
let range = null;    // [bottom, top] of the axis, which follows the values gently

const ours = () => performance.now() / 1000;

const weft = new Weft(), room = weft.subscribe("live");
showStatus(weft);
room.on("state", (state) => { // perhaps another server, with another clock
  if (state !== "subscribed") return;
  points = listOf(room.data.recent).map((entry) => entry.message);
  ahead = null;
  if (points.length) arrived();
});
room.on("message", (point) => {
  points.push(point);
  arrived();
});

function arrived() {
  const newest = points.at(-1);
  ahead = Math.max(ahead ?? -Infinity, newest[0] - ours());
  while (points[1]?.[0] < newest[0] - SPAN - 1) points.shift();
  showFigures(newest);
  if (still.matches) draw();
}

function showFigures([time, value]) {
  const values = points.map((point) => point[1]);
  $("value").textContent = value.toFixed(1);
  $("low").textContent = Math.min(...values).toFixed(1);
  $("high").textContent = Math.max(...values).toFixed(1);
  $("rate").textContent = points.filter((point) => point[0] > time - 2).length / 2;
}

function follow() {
  const values = points.map((point) => point[1]);
  const low = Math.min(...values), high = Math.max(...values), room = Math.max(2, (high - low) * 0.15);
  const wanted = [low - room, high + room];
  range = range && !still.matches ? range.map((edge, i) => edge + (wanted[i] - edge) * 0.06) : wanted;
}

function draw() {
  if (points.length < 2) return;
  follow();
  plot.draw(points, still.matches ? points.at(-1)[0] : ours() + ahead - BEHIND, range);
}

(function frame() {
  if (!still.matches) draw();
  requestAnimationFrame(frame);
})();
