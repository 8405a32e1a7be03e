"use strict";
// Files dropped onto the rule tester; the outcome comes without the page being left, so that the files need not be chosen again.

(() => {
  const form = document.getElementById("test");
  const files = document.getElementById("files");
  const drop = form.querySelector(".drop");
  const chosen = form.querySelector(".chosen");
  const outcome = document.getElementById("outcome");

  const count = () => { chosen.textContent = files.files.length ? `${files.files.length} files chosen` : ""; };
  files.addEventListener("change", count);

  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    files.files = event.dataTransfer.files;
    count();
    form.requestSubmit();
  });
  // a file that misses the field would make the browser leave the page
  for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault());

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    outcome.replaceChildren("The files are being looked at");
    try {
      const token = document.querySelector("meta[name=csrf-token]").content;
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "X-CSRF-Token": token } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = answer.ok ? page.getElementById("outcome") : page.querySelector("[role=alert]") ?? page.body;
      outcome.replaceChildren(...found.childNodes);
    } catch {
      outcome.replaceChildren("The server did not take the files; are they too large?");
    } finally {
      button.disabled = false;
    }
  });
})();
