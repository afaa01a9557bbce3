// Orders the stations by where the browser is, once, when asked: the position goes in the body of one request.
// At the checkout a station's own button picks it at once. Without this script both work by sending the form.
"use strict";
for (const part of document.querySelectorAll("[data-position]")) {
  if (!navigator.geolocation) break;
  part.hidden = false;
  const [latitude, longitude] = ["latitude", "longitude"].map((name) => part.querySelector(`[name=${name}]`));
  const button = part.querySelector("button");
  const told = part.querySelector("[role=status]");
  button.addEventListener("click", (event) => {
    if (latitude.value) return;
    event.preventDefault();
    told.textContent = told.dataset.asking;
    navigator.geolocation.getCurrentPosition(
      (found) => {
        latitude.value = found.coords.latitude.toFixed(6);
        longitude.value = found.coords.longitude.toFixed(6);
        button.form.requestSubmit(button);
      },
      () => { told.textContent = told.dataset.failed; },
      { timeout: 10000, maximumAge: 60000 },
    );
  });
}
const stations = document.querySelectorAll("[data-station]");
const choice = document.getElementById("station_id");
function mark() {
  for (const one of stations) one.classList.toggle("picked", one.dataset.station === choice.value);
}
for (const one of stations) {
  one.querySelector("button").addEventListener("click", (event) => {
    event.preventDefault();
    choice.value = one.dataset.station;
    mark();
  });
}
if (choice) choice.addEventListener("change", mark);
