// The console's token, taken out of the page's address (and so of the history), and the address of its stream.

const NAMED = new URLSearchParams(location.search).get("path") ?? "";
const token = new URLSearchParams(NAMED.split("?")[1] ?? "").get("token");
history.replaceState(null, "", location.pathname);

const REASONS = {
  1006: "The console did not open: its address was used before, or is too old. Ask for a new one.",
  1012: "The cloud is being restarted. Ask for a new address.",
};

export function say(text) {
  document.getElementById("status").textContent = text;
}

// Why a websocket was closed, in words. opened: whether it was ever open.
export function reason(event, opened) {
  if (event.reason) return event.reason;
  if (event.code === 1006 && opened) return "The connection was lost. Ask for a new address.";
  return REASONS[event.code] ?? "The console was closed.";
}

// The open stream, whatever the page's address named: only the cloud that the page came from is ever asked.
export function open() {
  if (!token) {
    say("This address has no token any more. Ask for a new one: openstack console url show SERVER");
    return null;
  }
  const url = new URL("stream", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ token }).toString();
  const socket = new WebSocket(url, ["binary"]);
  socket.binaryType = "arraybuffer";
  return socket;
}
