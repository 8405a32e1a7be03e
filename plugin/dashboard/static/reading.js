"use strict";
// The images of a reading: frames with window and level, and the boxes of its findings over them.
// Boxes are half-open in source pixels, their origin at the outer corner of the top-left pixel.

(async () => {
  const place = document.getElementById("viewer");
  const canvas = place.querySelector("canvas");
  const ink = canvas.getContext("2d");
  const status = place.querySelector(".place");
  const sliders = Object.fromEntries(["frame", "level", "width"].map((name) => [name, place.querySelector(`.${name}`)]));
  const KEPT = 48;
  const SWIPE_PX = 14;

  const answer = await fetch(`${place.dataset.source}/boxes`);
  if (!answer.ok) {
    const problem = answer.status === 409 ? (await answer.json()).problem : "The images cannot be loaded.";
    status.textContent = problem;
    canvas.setAttribute("aria-label", problem);
    return;
  }
  const reading = await answer.json();
  const grey = new OffscreenCanvas(reading.columns, reading.rows);
  const greyInk = grey.getContext("2d");
  const frames = new Map();  // frame number -> promise of { values, low, high }
  const [firstLow, firstHigh] = reading.window;
  const asked = { id: "asked", label: "asked", colour: "rgb(255, 255, 255)", boxes: [] };
  reading.tracklets.push(asked);
  let number = Math.ceil(reading.frames / 2);
  let shown = new Set(reading.tracklets.map((one) => one.id));

  function load(wanted) {
    if (!frames.has(wanted)) {
      frames.set(wanted, fetch(`${place.dataset.source}/frames/${wanted}`).then(async (got) => {
        if (!got.ok) throw new Error("This frame cannot be loaded.");
        return {
          values: new Uint16Array(await got.arrayBuffer()),
          low: Number(got.headers.get("X-Frame-Low")),
          high: Number(got.headers.get("X-Frame-High")),
        };
      }));
      frames.get(wanted).catch(() => frames.delete(wanted));
      if (frames.size > KEPT) frames.delete(frames.keys().next().value);
    }
    return frames.get(wanted);
  }

  // the sliders move the window by its own first width: brightness up is a lower centre, contrast up a smaller width
  function windowed() {
    const width = (firstHigh - firstLow) * 2 ** (-sliders.width.value / 40);
    const centre = (firstLow + firstHigh) / 2 - (sliders.level.value / 100) * (firstHigh - firstLow);
    return [centre - width / 2, width];
  }

  async function draw() {
    const wanted = number;
    let frame;
    try {
      frame = await load(wanted);
    } catch (error) {
      status.textContent = error.message;
      return;
    }
    if (wanted !== number) return;  // somebody went on meanwhile
    const [low, width] = windowed();
    const step = (frame.high - frame.low) / 65535;
    const image = greyInk.createImageData(reading.columns, reading.rows);
    for (let i = 0, at = 0; i < frame.values.length; i += 1, at += 4) {
      const value = ((frame.low + frame.values[i] * step - low) / width) * 255;
      image.data[at] = image.data[at + 1] = image.data[at + 2] = value;  // clamped by the array
      image.data[at + 3] = 255;
    }
    greyInk.putImageData(image, 0, 0);
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round((canvas.width * reading.rows * reading.pixel_aspect) / reading.columns);
    ink.drawImage(grey, 0, 0, canvas.width, canvas.height);
    const named = drawBoxes();
    place.dataset.frame = number;
    sliders.frame.value = number;
    status.textContent = `Frame ${number} of ${reading.frames}${named.length ? `: ${named.join(", ")}` : ""}`;
    canvas.setAttribute("aria-label", status.textContent);
    for (const near of [number + 1, number - 1]) if (near >= 1 && near <= reading.frames) load(near).catch(() => {});
  }

  function drawBoxes() {
    const [across, down] = [canvas.width / reading.columns, canvas.height / reading.rows];
    const named = [];
    ink.lineWidth = Math.max(2, Math.round(2 * devicePixelRatio));
    ink.font = `${Math.round(14 * devicePixelRatio)}px system-ui, sans-serif`;
    for (const tracklet of reading.tracklets.filter((one) => shown.has(one.id))) {
      for (const [on, x0, y0, x1, y1] of tracklet.boxes.filter((box) => box[0] === number)) {
        ink.strokeStyle = ink.fillStyle = tracklet.colour;
        ink.strokeRect(x0 * across, y0 * down, (x1 - x0) * across, (y1 - y0) * down);
        const text = `${tracklet.id}: ${tracklet.label}`;
        const left = Math.max(2, Math.min(x0 * across, canvas.width - ink.measureText(text).width - 2));
        const top = y0 * down > 20 ? y0 * down - 5 : y1 * down + 16;
        ink.strokeStyle = "#000";  // an outline, or nobody could read it over bright tissue
        ink.strokeText(text, left, top);
        ink.fillText(text, left, top);
        named.push(text);
      }
    }
    return named;
  }

  function go(wanted) {
    number = Math.min(Math.max(wanted, 1), reading.frames);
    return draw();
  }

  function move(slider, by) {
    slider.value = Number(slider.value) + by;
    draw();
  }

  function reset() {
    sliders.level.value = sliders.width.value = 0;
    draw();
  }

  // -- answers: one click leads to the frame of the largest box, and shows the boxes that it rests on alone

  const buttons = [...document.querySelectorAll("button.answer")];
  for (const button of buttons) {
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      show(button.dataset.tracklets.split(" "));
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    });
  }

  function show(ids) {
    shown = new Set(ids);
    const boxes = reading.tracklets.filter((one) => shown.has(one.id)).flatMap((one) => one.boxes);
    const area = ([, x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
    const largest = boxes.reduce((best, box) => (!best || area(box) > area(best) ? box : best), null);
    go(largest ? largest[0] : number);
    if (matchMedia("(max-width: 55rem)").matches) canvas.scrollIntoView();
  }

  function showOnly(ids) {
    for (const button of buttons) button.setAttribute("aria-pressed", "false");
    shown = new Set(ids);
    draw();
  }

  const all = () => reading.tracklets.map((one) => one.id);
  place.querySelector(".all").addEventListener("click", () => showOnly(all()));
  place.querySelector(".none").addEventListener("click", () => showOnly([]));
  place.querySelector(".reset").addEventListener("click", reset);
  sliders.frame.addEventListener("input", () => go(Number(sliders.frame.value)));
  sliders.level.addEventListener("input", draw);
  sliders.width.addEventListener("input", draw);

  // a question by hand (ask.js) shows the frames and boxes that its answer names
  place.addEventListener("asked", ({ detail }) => {
    if (detail.begin) asked.boxes.length = 0;
    if (detail.box) asked.boxes.push([detail.frame_number, ...detail.box]);
    if (detail.box) shown = new Set([asked.id]);
    if (detail.frame_number) go(detail.frame_number);
  });

  // -- keys, wheel, mouse and fingers

  const KEYS = {
    ArrowDown: () => go(number + 1), ArrowUp: () => go(number - 1), ArrowRight: () => go(number + 1), ArrowLeft: () => go(number - 1),
    PageDown: () => go(number + 5), PageUp: () => go(number - 5), Home: () => go(1), End: () => go(reading.frames),
    "+": () => move(sliders.level, 5), "=": () => move(sliders.level, 5), "-": () => move(sliders.level, -5),
    "]": () => move(sliders.width, 5), "[": () => move(sliders.width, -5),
    b: () => showOnly(shown.size ? [] : all()), r: reset,
  };
  canvas.addEventListener("keydown", (event) => {
    const act = event.ctrlKey || event.altKey || event.metaKey ? null : KEYS[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;  // zoom
    event.preventDefault();
    go(number + Math.sign(event.deltaY));
  }, { passive: false });

  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    from = { x: event.clientX, y: event.clientY, number, level: Number(sliders.level.value), width: Number(sliders.width.value) };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from || !canvas.hasPointerCapture(event.pointerId)) return;
    const [x, y] = [event.clientX - from.x, event.clientY - from.y];
    if (event.pointerType === "touch") {
      go(from.number - Math.round(y / SWIPE_PX));
    } else {
      sliders.width.value = from.width + x / 3;
      sliders.level.value = from.level - y / 3;
      draw();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });

  new ResizeObserver(draw).observe(place);
  go(number);
})();
