// Reads a pickup code's QR picture with the camera, where there is one; typing the digits always stays.
"use strict";
const scan = document.getElementById("scan");
if (scan && navigator.mediaDevices?.getUserMedia) {
  const field = document.getElementById("pickup-code");
  const [start, stop] = [scan.querySelector("[data-start]"), scan.querySelector("[data-stop]")];
  const [view, video, told] = [scan.querySelector("[data-view]"), scan.querySelector("video"), scan.querySelector("[role=status]")];
  const KEPT = "pickup-scanning"; // so that the next parcel needs no tap
  let stream = null;

  const say = (what) => { told.textContent = scan.dataset[what] || ""; };

  function end(keep) {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    view.hidden = true;
    start.hidden = false;
    if (!keep) sessionStorage.removeItem(KEPT);
  }

  async function reader() {
    if ("BarcodeDetector" in window && (await BarcodeDetector.getSupportedFormats()).includes("qr_code")) {
      const detector = new BarcodeDetector({ formats: ["qr_code"] });
      return async () => (await detector.detect(video))[0]?.rawValue;
    }
    if (!window.jsQR) {
      await new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = scan.dataset.reader;
        script.onload = done;
        script.onerror = failed;
        document.head.append(script);
      });
    }
    const canvas = document.createElement("canvas");
    const paper = canvas.getContext("2d", { willReadFrequently: true });
    return async () => {
      const scale = Math.min(1, 640 / Math.max(video.videoWidth, video.videoHeight));
      [canvas.width, canvas.height] = [Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale)];
      paper.drawImage(video, 0, 0, canvas.width, canvas.height);
      const image = paper.getImageData(0, 0, canvas.width, canvas.height);
      return window.jsQR(image.data, image.width, image.height)?.data;
    };
  }

  async function begin() {
    start.hidden = true;
    view.hidden = false;
    say("looking");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
      video.srcObject = stream;
      await video.play();
      const read = await reader();
      sessionStorage.setItem(KEPT, "1");
      while (stream) {
        const text = video.videoWidth ? await read() : null;
        const digits = text?.match(/[?&]code=([0-9]{8})$/)?.[1] ?? text?.match(/^[0-9]{8}$/)?.[0];
        if (digits && stream) {
          field.value = digits;
          end(true);
          field.form.requestSubmit();
          return;
        }
        if (text) say("other");
        await new Promise((next) => setTimeout(next, 150));
      }
    } catch (failed) {
      end(false);
      view.hidden = false;
      video.hidden = stop.hidden = true;
      say(failed?.name === "NotAllowedError" ? "denied" : "failed");
      field.focus();
    }
  }

  scan.hidden = false;
  start.addEventListener("click", () => { video.hidden = stop.hidden = false; begin(); });
  stop.addEventListener("click", () => { end(false); field.focus(); });
  window.addEventListener("pagehide", () => end(true));
  if (sessionStorage.getItem(KEPT) && !field.value) begin();
}
