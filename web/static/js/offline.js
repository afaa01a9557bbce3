// Shows the voucher and the orders as this device saw them last, out of the pages the service worker kept.
"use strict";
const place = document.getElementById("last-seen");
async function last(paths, selector) {
  const kept = await caches.open("own");
  for (const path of paths) {
    const answer = await kept.match(path);
    if (!answer) continue;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = [...page.querySelectorAll(selector)];
    if (found.length) return { found, at: new Date(answer.headers.get("Date")) };
  }
  return null;
}
// What is read out of a page that is not shown has no layout: each text by itself, or they would run together.
function wordsOf(element) {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const words = [];
  while (texts.nextNode()) words.push(texts.currentNode.textContent.replace(/\s+/g, " ").trim());
  return words.filter((one) => one);
}
function show(title, seen) {
  if (!seen) return;
  const section = document.createElement("section");
  section.className = "card-box mb-3";
  const head = document.createElement("h2");
  head.textContent = title;
  const at = document.createElement("p");
  at.className = "quiet";
  at.textContent = place.dataset.seen + " " + seen.at.toLocaleString(document.documentElement.lang);
  section.append(head, at);
  for (const one of seen.found) {
    // Words alone, one line each: what was a link or a button leads nowhere without a line.
    const words = document.createElement("p");
    words.textContent = wordsOf(one).join(" ");
    section.append(words);
  }
  place.append(section);
}
(async () => {
  show(place.dataset.voucher, await last(["/vouchers", "/"], ".voucher"));
  show(place.dataset.orders, await last(["/orders"], ".lines li"));
  place.querySelector("[data-nothing]").hidden = place.querySelector("section") !== null;
})();
document.getElementById("again").addEventListener("click", () => location.reload());
