// Orders the stations by where the browser is, once, when asked. The position goes in the body of one request.
"use strict";
const form = document.getElementById("by-position");
if (form && navigator.geolocation) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    if (form.elements.latitude.value) return;
    event.preventDefault();
    const told = form.querySelector("[role=status]");
    navigator.geolocation.getCurrentPosition(
      (found) => {
        form.elements.latitude.value = found.coords.latitude.toFixed(6);
        form.elements.longitude.value = found.coords.longitude.toFixed(6);
        form.submit();
      },
      () => { told.textContent = told.dataset.failed; },
      { timeout: 10000, maximumAge: 60000 },
    );
  });
}
