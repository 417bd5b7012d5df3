"use strict";
// Draws the kernels, and changes the theme. All data are in the page.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // --- Theme: auto, light or dark, in memory only.
  const themes = ["auto", "light", "dark"];
  let theme = 0;
  const toggle = byId("theme");
  toggle.hidden = false;
  const showTheme = () => {
    if (themes[theme] === "auto") delete root.dataset.theme;
    else root.dataset.theme = themes[theme];
    toggle.textContent = `Theme: ${themes[theme]}`;
  };
  toggle.addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    showTheme();
    redraw();
  });
  let redraw = () => {};
  dark.addEventListener("change", () => redraw());
  window.addEventListener("beforeprint", () => {
    root.dataset.theme = "light";
    redraw();
  });
  window.addEventListener("afterprint", () => {
    showTheme();
    redraw();
  });

  // --- Tables that are wider than their place say so.
  const measured = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const box = target.closest(".scroll");
      box.parentElement.classList.toggle("wide", box.scrollWidth > box.clientWidth);
    }
  });
  for (const part of document.querySelectorAll(".scroll, .scroll > table")) measured.observe(part);

  const holder = byId("kernels-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  byId("viewer").hidden = false;
  const LARGEST = 32767;
  const MISSING = -32768;
  const slider = byId("time");
  const play = byId("play");
  const oneScale = byId("one-scale");
  const layers = byId("layers");
  const canvases = [...document.querySelectorAll("canvas[data-run]")];
  let cell = null; // row and column that are read, and the run that is pointed at

  // --- Kernels: 16-bit whole numbers in base64, unpacked when they are first shown.
  const unpacked = new Map();
  const kernelOf = (run, key) => {
    const packed = data.runs[run].kernels[key];
    if (!packed) return null;
    const name = `${run} ${key}`;
    if (!unpacked.has(name)) {
      const letters = atob(packed.data);
      const bytes = new DataView(new ArrayBuffer(letters.length));
      for (let i = 0; i < letters.length; i++) bytes.setUint8(i, letters.charCodeAt(i));
      const numbers = new Int16Array(letters.length / 2);
      for (let i = 0; i < numbers.length; i++) numbers[i] = bytes.getInt16(2 * i, true);
      unpacked.set(name, { numbers, scale: packed.scale, frames: packed.frames });
    }
    return unpacked.get(name);
  };
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`);
  const kindNow = () => chosen("kernel").value;
  const keyNow = () => (kindNow() === "ntk" ? "ntk" : `${kindNow()}/${chosen("layer").value}`);
  const symbolNow = () => data.kinds[kindNow()].symbol + (kindNow() === "ntk" ? "" : superscript(chosen("layer").value));
  const superscript = (digits) => [...digits].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  const position = () => (slider ? Number(slider.value) : 0);
  const placeOf = (canvas) => ("still" in canvas.dataset ? 0 : data.runs[canvas.dataset.run].at[position()]);
  const frameOf = (canvas, kernel) => Math.min(placeOf(canvas), kernel.frames - 1);

  // --- Colours: the anchors of the diverging scale are in the styles.
  const scaleOfColours = () => {
    const style = getComputedStyle(root);
    const anchors = Array.from({ length: 9 }, (_, i) => rgb(style.getPropertyValue(`--d${i}`)));
    const table = new Uint8ClampedArray(3 * 513);
    for (let i = 0; i < 513; i++) {
      const place = i / 64;
      const below = Math.min(7, Math.floor(place));
      for (let c = 0; c < 3; c++)
        table[3 * i + c] = anchors[below][c] + (place - below) * (anchors[below + 1][c] - anchors[below][c]);
    }
    return { table, line: rgb(style.getPropertyValue("--muted")), missing: rgb(style.getPropertyValue("--rule")), mark: rgb(style.getPropertyValue("--fg")) };
  };
  const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.trim().slice(at, at + 2), 16));

  // --- One colour scale for each kernel and group of runs, or for each kernel.
  const limits = (key) => {
    const each = new Map();
    data.runs.forEach((run, index) => {
      const kernel = run.kernels[key];
      if (!kernel) return;
      const group = oneScale && oneScale.checked ? "all" : run.group;
      each.set(group, Math.max(each.get(group) || 0, kernel.scale * LARGEST));
    });
    return (group) => each.get(oneScale && oneScale.checked ? "all" : group) || 1;
  };

  const number = (value) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1e-3 && size < 1e4 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
    return text.replaceAll("-", "−");
  };
  const timeText = (time) => (Number.isFinite(time) ? String(Number(time.toPrecision(4))) : "∞");

  const paint = (canvas, colours, key, limit) => {
    const index = Number(canvas.dataset.run);
    const run = data.runs[index];
    const size = run.samples.length;
    const kernel = kernelOf(index, key);
    const cellSize = Math.max(1, Math.ceil(480 / size));
    if (canvas.width !== size * cellSize) canvas.width = canvas.height = size * cellSize;
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    if (!kernel) {
      context.clearRect(0, 0, canvas.width, canvas.height);
      canvas.setAttribute("aria-label", `${run.name}: no such kernel`);
      return;
    }
    const start = frameOf(canvas, kernel) * size * size;
    const image = new ImageData(size, size);
    for (let i = 0; i < size * size; i++) {
      const raw = kernel.numbers[start + i];
      const place = Math.max(0, Math.min(512, Math.round(256 + (256 * raw * kernel.scale) / limit)));
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = raw === MISSING ? colours.missing[c] : colours.table[3 * place + c];
      image.data[4 * i + 3] = 255;
    }
    const small = document.createElement("canvas");
    small.width = small.height = size;
    small.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    context.fillStyle = `rgb(${colours.line})`;
    for (const edge of run.edges) {
      context.fillRect(edge * cellSize - 1, 0, 2, canvas.height);
      context.fillRect(0, edge * cellSize - 1, canvas.width, 2);
    }
    if (cell && alike(run, data.runs[cell.run])) {
      context.strokeStyle = `rgb(${colours.mark})`;
      context.lineWidth = 2;
      context.strokeRect(cell.column * cellSize + 1, cell.row * cellSize + 1, Math.max(cellSize - 2, 3), Math.max(cellSize - 2, 3));
    }
    const words = data.kinds[kindNow()].name;
    canvas.setAttribute("aria-label", `${words} ${symbolNow()} of ${run.name}${when(canvas)}, ${size} samples${run.classes.length ? " ordered by class" : ""}; arrow keys read single entries`);
  };

  const when = (canvas) => {
    const times = data.runs[canvas.dataset.run].times;
    return times.length ? ` at time ${timeText(times[placeOf(canvas)])}` : ", constant in time";
  };

  // What is pointed at, and the time of an image where it is not that of the slider.
  const alike = (a, b) => `${a.samples} ${a.classes}` === `${b.samples} ${b.classes}`;
  const read = (canvas, key) => {
    const run = data.runs[canvas.dataset.run];
    const kernel = kernelOf(canvas.dataset.run, key);
    const figure = canvas.closest("figure");
    const now = data.times[position()];
    const own = run.times[placeOf(canvas)];
    let note = "";
    if ("still" in canvas.dataset) note = "";
    else if (!kernel) note = "not recorded";
    else if (!run.times.length || kernel.frames < run.times.length) note = "constant in time";
    else if (!(Math.abs(own - now) <= 1e-9 * Math.abs(now))) note = `at time ${timeText(own)}`;
    figure.querySelector(".note").textContent = note;
    figure.querySelector(".note").hidden = note === "";
    let value = "";
    if (kernel && cell && alike(run, data.runs[cell.run])) {
      const size = run.samples.length;
      const raw = kernel.numbers[(frameOf(canvas, kernel) * size + cell.row) * size + cell.column];
      value = raw === MISSING ? "no value" : number(raw * kernel.scale);
    }
    figure.querySelector(".value").textContent = value;
  };
  const hint = "Point at an entry or touch it to read its value; with the keyboard, move to an image and use the arrow keys.";
  const readPair = () => {
    if (!cell) return hint;
    const { samples, classes } = data.runs[cell.run];
    return [cell.row, cell.column].map((at) => `sample ${samples[at]}${classes.length ? ` (${classes[at]})` : ""}`).join(" and ");
  };

  redraw = () => {
    const key = keyNow();
    const colours = scaleOfColours();
    const limit = limits(key);
    if (layers) layers.disabled = kindNow() === "ntk";
    for (const canvas of canvases) {
      const index = Number(canvas.dataset.run);
      paint(canvas, colours, key, limit(data.runs[index].group));
      read(canvas, key);
    }
    byId("reading").textContent = readPair();
    for (const bar of document.querySelectorAll(".scale")) {
      const most = limit(Number(bar.dataset.group));
      const ticks = [-1, -0.5, 0, 0.5, 1].map((part) => number(Number((part * most).toPrecision(2))));
      [...bar.querySelectorAll(".ticks span")].forEach((tick, i) => { tick.textContent = ticks[i]; });
      bar.setAttribute("aria-label", `colour scale of ${symbolNow()}, from ${ticks[0]} to ${ticks[4]}`);
    }
    if (slider) {
      const text = `time ${timeText(data.times[position()])}`;
      byId("time-shown").textContent = text;
      slider.setAttribute("aria-valuetext", text);
    }
  };

  // --- Pointing, touching, arrow keys.
  for (const canvas of canvases) {
    const run = Number(canvas.dataset.run);
    const size = data.runs[run].samples.length;
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      const at = (from, length, where) => Math.max(0, Math.min(size - 1, Math.floor(((where - from) / length) * size)));
      cell = { run, row: at(box.top, box.height, event.clientY), column: at(box.left, box.width, event.clientX) };
      redraw();
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") { cell = null; redraw(); }
    });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Escape") { cell = null; redraw(); }
      if (!move) return;
      event.preventDefault();
      const within = (value) => Math.max(0, Math.min(size - 1, value));
      cell = cell ? { run, row: within(cell.row + move[0]), column: within(cell.column + move[1]) } : { run, row: 0, column: 0 };
      redraw();
    });
  }

  // --- Kernel, layer, time.
  for (const input of document.querySelectorAll("#viewer input")) input.addEventListener("input", () => redraw());
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  if (slider) {
    slider.addEventListener("input", () => { if (timer) stop(); });
    play.addEventListener("click", () => {
      if (timer) return stop();
      if (position() === Number(slider.max)) slider.value = 0;
      play.textContent = "Pause";
      play.setAttribute("aria-pressed", "true");
      timer = setInterval(() => {
        slider.value = position() + 1;
        redraw();
        if (position() === Number(slider.max)) stop();
      }, Math.min(400, Math.max(60, 6000 / Number(slider.max))));
      redraw();
    });
  }
  redraw();
})();
