// A WebSocket that comes back. After a loss it waits a random time below a bound that doubles with
// every failure ("full jitter"): a thousand pages that lost the same server do not all return at
// once. The page's #status says how things stand, and its #retry button ends the waiting.

const FIRST = 0.5, LONGEST = 15; // seconds

const $ = (id) => document.getElementById(id);

/** Keeps a WebSocket to `path` on this page's server: { opened(), message(data), closed(event) }. */
export function connection(path, on) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  let socket = null, failures = 0, timer = 0;

  function show(state, text) {
    $("status").dataset.state = state;
    $("status").firstElementChild.textContent = text;
    $("retry").hidden = state !== "waiting";
  }

  function connect() {
    clearTimeout(timer);
    timer = 0;
    show("connecting", "Connecting …");
    const mine = socket = new WebSocket(url);
    mine.onopen = () => {
      failures = 0;
      show("open", "Connected");
      on.opened?.();
    };
    mine.onmessage = (event) => { if (mine === socket) on.message(event.data); };
    mine.onclose = (event) => {
      if (mine !== socket) return; // stop() has let go of it already
      socket = null;
      if (on.closed?.(event) !== false) wait();
    };
  }

  function wait() {
    const bound = Math.min(LONGEST, FIRST * 2 ** failures++);
    const until = performance.now() + 1000 * Math.max(0.2, Math.random() * bound);
    (function tick() {
      const left = Math.ceil((until - performance.now()) / 1000);
      if (left <= 0) return connect();
      show("waiting", `Offline, trying again in ${left} s`);
      timer = setTimeout(tick, Math.min(1000, until - performance.now()));
    })();
  }

  function hurry() { // there is reason to believe that it would work now
    if (timer) connect();
  }

  function stop(text) {
    clearTimeout(timer);
    timer = 0;
    const old = socket;
    socket = null;
    old?.close(1000);
    show("idle", text);
  }

  $("retry").onclick = hurry;
  addEventListener("online", hurry);
  document.addEventListener("visibilitychange", () => document.hidden || hurry());

  return {
    start: () => { if (!socket && !timer) connect(); },
    stop,
    isOpen: () => socket?.readyState === WebSocket.OPEN,
    send: (value) => socket.send(JSON.stringify(value)),
  };
}
