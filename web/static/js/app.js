// Registers what keeps the offline page. Every page works without it.
"use strict";
if ("serviceWorker" in navigator) {
  addEventListener("load", () => navigator.serviceWorker.register("/service-worker.js"));
}
