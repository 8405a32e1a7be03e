"use strict";
// A question by hand: posted, and its answer shown piece by piece as the server sends it.

(() => {
  const form = document.getElementById("ask");
  const said = document.getElementById("said");
  const viewer = document.getElementById("viewer");
  const tell = (detail) => viewer.dispatchEvent(new CustomEvent("asked", { detail }));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    said.replaceChildren();
    tell({ begin: true });
    try {
      const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
      if (!answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        add("p", page.querySelector("[role=alert]")?.textContent ?? page.body.textContent);
        return;
      }
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch {
      add("p", "The connection was lost; ask again.");
    } finally {
      button.disabled = false;
    }
  });

  async function read(reader) {
    let waiting = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      waiting += value;
      const events = waiting.split("\n\n");
      waiting = events.pop();
      for (const one of events) {
        const data = one.split("\n").find((line) => line.startsWith("data: "));
        if (data) show(JSON.parse(data.slice(6)));
      }
    }
  }

  function show(piece) {
    if (piece.kind === "text") {
      (said.querySelector("p.pieces") ?? add("p", "", "pieces")).append(piece.text);
    } else if (piece.kind === "final" || piece.kind === "refused") {
      said.replaceChildren();
      add("p", piece.text, piece.kind === "final" ? "answer" : "warning");
    } else {
      tell(piece);
    }
  }

  function add(kind, text, name = "") {
    const element = document.createElement(kind);
    element.textContent = text;
    element.className = name;
    said.append(element);
    return element;
  }
})();
