"use strict";
// Keeps a page up to date: when the journal changes, the page is fetched again and its parts marked data-live replaced.

(() => {
  const parts = () => document.querySelectorAll("[data-live]");
  let isFetching = false;
  let isStale = false;

  async function refresh() {
    if (isFetching) { isStale = true; return; }
    isFetching = true;
    try {
      // named so, a refresh does not count as something that the user did: a page left open keeps nobody logged in
      const answer = await fetch(location.href, { headers: { Accept: "text/html, text/event-stream" } });
      if (answer.redirected) { location.reload(); return; }  // logged out meanwhile
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of parts()) replace(part, fresh.getElementById(part.id));
    } catch {
      // the server is away; the next event comes when it is back
    } finally {
      isFetching = false;
      if (isStale) { isStale = false; setTimeout(refresh, 1000); }
    }
  }

  function replace(part, fresh) {
    if (!fresh || part.innerHTML === fresh.innerHTML) return;
    // what somebody is filling in, or has opened, is left alone
    if (part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
    const place = [...part.querySelectorAll("a, button")].indexOf(document.activeElement);
    part.innerHTML = fresh.innerHTML;
    if (place >= 0) part.querySelectorAll("a, button")[place]?.focus();
  }

  if (parts().length && "EventSource" in window) {
    const events = new EventSource("/events");
    events.addEventListener("changed", refresh);
  }
})();
