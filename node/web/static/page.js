"use strict";

// Keeps the live list fresh and lets files be dropped; every page works without it.

const REFRESH_MS = 3000;

function refresh(box) {
  const note = document.querySelector("[data-refresh-note]");
  setInterval(async () => {
    if (document.hidden || box.contains(document.activeElement)) return; // do not pull a link from under the keyboard
    try {
      const answer = await fetch(box.dataset.refresh, { headers: { Accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      box.innerHTML = await answer.text(); // our own template, escaped on the server
      note.hidden = true;
    } catch {
      note.textContent = "The node does not answer; the list is old.";
      note.hidden = false;
    }
  }, REFRESH_MS);
}

function acceptDrops(form) {
  const input = form.querySelector("input[type=file]");
  const chosen = form.querySelector("[data-chosen]");
  const tell = () => {
    const number = input.files.length;
    chosen.textContent = number ? number + (number === 1 ? " file chosen" : " files chosen") : "";
  };
  input.addEventListener("change", tell);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    form.addEventListener(kind, (event) => {
      event.preventDefault();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop") {
        input.files = event.dataTransfer.files;
        tell();
      }
    });
  }
  form.addEventListener("submit", () => {
    form.querySelector("button").disabled = true;
    chosen.textContent = "Being uploaded ...";
  });
}

document.querySelectorAll("[data-refresh]").forEach(refresh);
document.querySelectorAll("[data-drop]").forEach(acceptDrops);
