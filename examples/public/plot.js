// A plot of values over time on a canvas, crisp at any pixel ratio: push.js and dashboard.js have it.
// A point is [seconds, value]; the newest is at the right edge, `span` seconds from the left one.

// Grid lines at round values: 1, 2 or 5 times a power of ten, about `lines` of them.
function step(extent, lines) {
  const rough = extent / lines, power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((times) => times * power >= rough);
}

export class Plot {
  constructor(canvas, { span, lines = 5, every = 5, left = 40, ago = (seconds) => `${seconds} s ago` }) {
    Object.assign(this, { canvas, span, lines, every, left, ago, pen: canvas.getContext("2d") });
  }

  // The canvas has as many pixels as the screen shows.
  #fit() {
    const ratio = devicePixelRatio, { width, height } = this.canvas.getBoundingClientRect(), { canvas } = this;
    const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    return [width, height];
  }

  #grid(width, height, [low, high], x, y, edge, colours) {
    const { pen, left, span } = this, every = width < 600 ? 2 * this.every : this.every;
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.fillStyle = colours.soft;
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const gap = step(high - low, this.lines);
    for (let value = Math.ceil(low / gap) * gap; value <= high; value += gap) {
      const at = Math.round(y(value)) + 0.5;
      pen.moveTo(left, at);
      pen.lineTo(width, at);
      pen.fillText(+value.toFixed(6), left - 8, at);
    }
    pen.stroke();
    pen.textAlign = "center";
    for (let seconds = every; seconds < span; seconds += every) pen.fillText(this.ago(seconds), x(edge - seconds), height - 8);
  }

  /** Draws points up to `edge`, the time of the right edge, within `range` [low, high]. */
  draw(points, edge, range) {
    const [width, height] = this.#fit(), { pen, left, span } = this;
    const style = getComputedStyle(this.canvas);
    const colours = Object.fromEntries(["soft", "line", "accent"].map((it) => [it, style.getPropertyValue("--" + it)]));
    const right = width - 10, bottom = height - 24;
    const x = (time) => right - (edge - time) / span * (right - left);
    const y = (value) => bottom - (value - range[0]) / (range[1] - range[0]) * (bottom - 6);
    this.#grid(width, height, range, x, y, edge, colours);

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
    this.#paint(curve, x(tip[0]), x(due[0][0]), bottom, width, colours.accent);
    pen.fillStyle = colours.accent;
    pen.beginPath();
    pen.arc(x(tip[0]), y(tip[1]), 4, 0, 2 * Math.PI);
    pen.fill();
  }

  #paint(curve, last, first, bottom, width, accent) {
    const { pen, left } = this, area = new Path2D(curve), fade = pen.createLinearGradient(0, 0, 0, bottom);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left, bottom + 1);
    pen.clip();
    area.lineTo(last, bottom);
    area.lineTo(first, bottom);
    fade.addColorStop(0, accent);
    fade.addColorStop(1, `color-mix(in srgb, ${accent} 0%, transparent)`);
    pen.globalAlpha = 0.18;
    pen.fillStyle = fade;
    pen.fill(area);
    pen.globalAlpha = 1;
    pen.strokeStyle = accent;
    pen.lineWidth = 2;
    pen.lineJoin = "round";
    pen.stroke(curve);
    pen.restore();
  }
}
