// What the pages of the examples share: how the connection's state is shown, and elements.

const $ = (id) => document.getElementById(id);

export function make(tag, className, content) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (content !== undefined) element.textContent = content; // never as markup: others wrote it
  return element;
}

/** A list of the server's: Lua's empty table is {} in JSON. */
export const listOf = (it) => Object.values(it);

/** Calls f in the next frame, however often it is asked to until then; a page in the background has none. */
export function onceAFrame(f) {
  let asked = false;
  return () => {
    if (!asked) requestAnimationFrame(() => { asked = false; f(); });
    asked = true;
  };
}

/** Everybody has a colour: a hue made from the name, the same on every page. */
export function hueOf(name) {
  let hash = 0;
  for (const char of String(name)) hash = Math.imul(hash, 31) + char.codePointAt(0) >>> 0;
  return hash * 137.5 % 360; // the golden angle: like names, unlike hues
}

export function avatar(name) {
  const face = make("span", "avatar", [...name][0].toUpperCase());
  face.style.setProperty("--hue", hueOf(name));
  face.setAttribute("aria-hidden", "true");
  return face;
}

const TEXTS = { connecting: "Connecting …", open: "Connected", closed: "Not connected" };

/** #status says how things stand, and #retry ends the waiting. */
export function showStatus(weft) {
  let timer = 0;

  function show(state, { delay = 0, transport } = {}) {
    clearInterval(timer);
    const until = performance.now() + delay, status = $("status");
    const tick = () => {
      const left = Math.max(1, Math.ceil((until - performance.now()) / 1000));
      status.firstElementChild.textContent = state === "waiting" ? `Offline, trying again in ${left} s`
        : TEXTS[state] + (state === "open" && transport === "sse" ? " (without WebSocket)" : "");
    };
    status.dataset.state = state;
    $("retry").hidden = state !== "waiting";
    tick();
    if (state === "waiting") timer = setInterval(tick, 500);
  }

  $("retry").onclick = () => weft.connect();
  weft.on("state", show);
  show(weft.state, weft);
}
