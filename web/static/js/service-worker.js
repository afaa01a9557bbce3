// Keeps the offline page, and a member's own pages as last seen. Nothing else: prices and stock are never served old.
// Nothing personal outlives a sign-out: the server clears the storage (Clear-Site-Data), and so does this.
"use strict";
const SHELL = "shell-VERSION", OWN = "own";
const FILES = ["/offline", "STYLE", "SCRIPT", "ICON"];
const SEEN = ["/", "/vouchers", "/orders"];

addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((kept) => kept.addAll(FILES)).then(() => skipWaiting()));
});
addEventListener("activate", (event) => {
  const old = (name) => name !== SHELL && name !== OWN;
  event.waitUntil(
    caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))).then(() => clients.claim()),
  );
});
async function navigate(request, path) {
  if (request.method === "POST" && path === "/sign-out") await caches.delete(OWN);
  try {
    const answer = await fetch(request);
    if (answer.redirected && new URL(answer.url).pathname === "/sign-in") await caches.delete(OWN);
    else if (request.method === "GET" && answer.ok && SEEN.includes(path) && answer.headers.get("X-Seen-By") === "member") {
      await (await caches.open(OWN)).put(path, answer.clone());
    }
    return answer;
  } catch (lost) {
    if (request.method !== "GET") throw lost; // what was sent is never pretended to have arrived
    return (await caches.match("/offline")) || Response.error();
  }
}
addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== location.origin) return;
  if (event.request.mode === "navigate") event.respondWith(navigate(event.request, url.pathname));
  else if (FILES.includes(url.pathname + url.search)) {
    event.respondWith(caches.match(event.request).then((kept) => kept || fetch(event.request)));
  }
});
