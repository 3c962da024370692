import { Terminal } from "./xterm/lib/xterm.mjs";
import { FitAddon } from "./xterm-fit/lib/addon-fit.mjs";
import { open, reason, say } from "./stream.js";

const socket = open();
if (socket) {
  const terminal = new Terminal({ scrollback: 5000 });
  const fit = new FitAddon();
  const encoder = new TextEncoder();
  let opened = false;
  terminal.loadAddon(fit);
  terminal.open(document.getElementById("screen"));
  fit.fit();
  addEventListener("resize", () => fit.fit());
  terminal.onData((text) => { if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text)); });
  terminal.onBinary((text) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(Uint8Array.from(text, (char) => char.charCodeAt(0)));
  });
  socket.addEventListener("open", () => { opened = true; say("Connected: Enter shows a prompt"); terminal.focus(); });
  socket.addEventListener("message", (event) => terminal.write(new Uint8Array(event.data)));
  socket.addEventListener("close", (event) => say(reason(event, opened)));
}
