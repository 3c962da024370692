import RFB from "./novnc/core/rfb.js";
import { open, reason, say } from "./stream.js";

const socket = open();
if (socket) {
  const keys = document.getElementById("keys");
  let opened = false;
  socket.addEventListener("close", (event) => { keys.hidden = true; say(reason(event, opened)); });
  const rfb = new RFB(document.getElementById("screen"), socket, { shared: true });
  rfb.scaleViewport = true;
  rfb.addEventListener("connect", () => { opened = true; keys.hidden = false; say("Connected"); rfb.focus(); });
  rfb.addEventListener("desktopname", (event) => { document.title = `${event.detail.name} (noVNC)`; });
  keys.addEventListener("click", () => { rfb.sendCtrlAltDel(); rfb.focus(); });
}
