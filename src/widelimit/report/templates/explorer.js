"use strict";
// The page of a sweep: what is picked decides what is drawn. All data are in the page.
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("sweep-data").textContent);
  const LARGEST = 32767;
  const MISSING = -32768;
  const MOST_BESIDE = 12;
  byId("explorer").hidden = false;

  // --- Small helpers: text, numbers, elements.
  const number = (value) => {
    if (!Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1e-3 && size < 1e4 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
    return text.replaceAll("-", "−");
  };
  // Two digits of the error, and as many places of the value.
  const withError = (value, error) => {
    if (!Number.isFinite(value)) return "no value";
    if (!Number.isFinite(error)) return number(value);
    const places = Math.max(0, 1 - Math.floor(Math.log10(error)));
    if (!(error > 0) || places > 8 || Math.abs(value) >= 1e6) return `${number(value)} ± ${number(error)}`;
    return `${value.toFixed(places)} ± ${error.toFixed(places)}`.replaceAll("-", "−");
  };
  const element = (name, attributes = {}, text = "") => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const drawn = (name, attributes = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const options = (select, labels) => select.replaceChildren(...labels.map((label, place) => element("option", { value: place }, label)));
  const superscript = (digits) => [...String(digits)].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  const pretty = (name) => name.replace(/\^(\d+)/g, (_, digits) => superscript(digits));

  // --- Points by their places.
  const byPlace = new Map(data.points.map((point) => [point.at.join(), point]));
  const unpacked = new Map();
  const bytesOf = (text) => {
    const letters = atob(text);
    const bytes = new DataView(new ArrayBuffer(letters.length));
    for (let i = 0; i < letters.length; i++) bytes.setUint8(i, letters.charCodeAt(i));
    return bytes;
  };
  const cached = (text, make) => {
    if (!unpacked.has(text)) unpacked.set(text, make(bytesOf(text)));
    return unpacked.get(text);
  };
  const curveOf = (point, name) => {
    const text = point && point.curves && point.curves[name];
    if (!text) return null;
    return cached(text, (bytes) => {
      const count = bytes.byteLength / 8;
      const at = (i) => bytes.getFloat32(4 * i, true);
      return { mean: Array.from({ length: count }, (_, i) => at(i)), error: Array.from({ length: count }, (_, i) => at(count + i)) };
    });
  };
  const numbersOf = (kernel) => cached(kernel.data, (bytes) => {
    const numbers = new Int16Array(bytes.byteLength / 2);
    for (let i = 0; i < numbers.length; i++) numbers[i] = bytes.getInt16(2 * i, true);
    return numbers;
  });

  // --- What can be picked.
  const picks = data.dims.map((dim, place) => {
    const label = element("label", { class: "pick" }, dim.name.replaceAll("_", " "));
    const select = element("select", { id: `dim-${place}` });
    options(select, dim.labels);
    label.append(select);
    return { label, select };
  });
  byId("dims").replaceWith(...picks.map((pick) => pick.label));
  const names = data.dims.map((dim) => dim.name.replaceAll("_", " "));
  for (const id of ["along", "across"]) options(byId(id), names);
  options(byId("down"), [...names, "none"]);
  byId("across").value = data.dims.length > 1 ? 1 : 0;
  byId("down").value = data.dims.length > 1 ? 0 : 1;
  // Words beside each other, numbers along an axis, where there are both.
  const worded = data.dims.findIndex((dim) => dim.labels.some((label) => Number.isNaN(Number(label))));
  byId("along").value = Math.max(worded, 0);
  options(byId("quantity"), data.quantities.map(pretty));
  const preferred = data.quantities.findIndex((name) => name.startsWith("A(K"));
  byId("quantity").value = Math.max(preferred, 0);
  const layersOf = (name) => { const found = /\^(\d+)|layer (\d+)/.exec(name); return found ? Number(found[1] || found[2]) : null; };
  const layers = [...new Set([...data.quantities.map(layersOf), ...data.kernels.map((key) => (key.includes("/") ? Number(key.split("/")[1]) : null))])].filter((layer) => layer !== null).sort((a, b) => a - b);
  options(byId("layer"), layers.map(String));
  byId("layer").value = layers.length - 1;
  byId("layer").closest("label").hidden = !layers.length;
  const kinds = Object.keys(data.kinds).filter((kind) => data.kernels.some((key) => key.split("/")[0] === kind));
  if (byId("kernel")) options(byId("kernel"), kinds.map((kind) => `${data.kinds[kind].symbol} (${data.kinds[kind].name})`));

  // --- The times of the slider: those of the point that goes on for longest.
  const longest = data.points.filter((point) => point.times).reduce((best, point) => (point.times.at(-1) > best.times.at(-1) ? point : best));
  const slider = byId("time");
  slider.max = longest.times.length - 1;
  slider.value = slider.max;
  const now = () => longest.times[Number(slider.value)];
  const before = (times, time) => {
    let place = 0;
    times.forEach((each, i) => { if (each <= time * (1 + 1e-9)) place = i; });
    return place;
  };

  const chosen = (id) => Number(byId(id).value);
  const placeNow = () => picks.map((pick) => Number(pick.select.value));
  const at = (changes) => byPlace.get(placeNow().map((place, dim) => (dim in changes ? changes[dim] : place)).join());
  const layerNow = () => layers[chosen("layer")];
  const besides = () => data.dims[chosen("along")].labels.map((label, place) => ({ label, place, point: at({ [chosen("along")]: place }) })).slice(0, MOST_BESIDE);
  const COLOURS = 7;
  const DASHES = ["", "6 3", "2 3"];

  // --- Colours.
  const rgb = (text) => [1, 3, 5].map((from) => parseInt(text.trim().slice(from, from + 2), 16));
  const scaleOfColours = () => {
    const style = getComputedStyle(root);
    const anchors = Array.from({ length: 9 }, (_, i) => rgb(style.getPropertyValue(`--d${i}`)));
    // A place in [−1, 1] as a colour.
    const colour = (place) => {
      const along = 4 + 4 * Math.max(-1, Math.min(1, place));
      const below = Math.min(7, Math.floor(along));
      return anchors[below].map((from, c) => Math.round(from + (along - below) * (anchors[below + 1][c] - from)));
    };
    return { colour, line: rgb(style.getPropertyValue("--muted")), missing: rgb(style.getPropertyValue("--rule")), mark: rgb(style.getPropertyValue("--fg")) };
  };

  // --- Heat map over two settings.
  const drawHeat = () => {
    const name = data.quantities[chosen("quantity")];
    const across = chosen("across");
    const down = chosen("down") === data.dims.length || chosen("down") === across ? null : chosen("down");
    const columns = data.dims[across].labels;
    const rows = down === null ? [""] : data.dims[down].labels;
    const cells = [];
    rows.forEach((row, r) => columns.forEach((column, c) => {
      const point = at(down === null ? { [across]: c } : { [across]: c, [down]: r });
      const curve = curveOf(point, name);
      const place = curve ? before(point.times, now()) : 0;
      // What diverged has its last value.
      let last = place;
      if (curve) while (last > 0 && !Number.isFinite(curve.mean[last])) last -= 1;
      cells.push({ r, c, point, mean: curve ? curve.mean[last] : NaN, error: curve ? curve.error[last] : NaN });
    }));
    const known = cells.map((cell) => cell.mean).filter(Number.isFinite);
    const least = Math.min(...known), most = Math.max(...known);
    const logarithmic = least > 0 && most > 20 * least;
    const placed = (value) => {
      if (least < 0) return value / Math.max(Math.abs(least), Math.abs(most), 1e-300);
      if (most === least) return 0.5;
      return logarithmic ? Math.log(value / least) / Math.log(most / least) : (value - least) / (most - least);
    };
    const colours = scaleOfColours();
    const left = down === null ? 8 : Math.min(230, 16 + 6.6 * Math.max(...rows.map((row) => row.length)));
    const size = Math.max(22, Math.min(64, 640 / columns.length));
    const height = Math.max(22, Math.min(44, 480 / rows.length));
    const below = Math.max(...columns.map((column) => column.length)) * 6.6 > size - 4;
    const foot = below ? Math.min(150, 10 + 5.2 * Math.max(...columns.map((column) => column.length))) : 22;
    const svg = drawn("svg", { viewBox: `0 0 ${left + size * columns.length + (below ? 40 : 8)} ${height * rows.length + foot + 18}`, width: left + size * columns.length + (below ? 40 : 8), role: "img", "aria-label": `${name} over ${names[across]}${down === null ? "" : ` and ${names[down]}`}` });
    rows.forEach((row, r) => svg.append(drawn("text", { x: left - 6, y: height * (r + 0.5) + 4, "text-anchor": "end" }, row.length > 32 ? `${row.slice(0, 31)}…` : row)));
    columns.forEach((column, c) => {
      const x = left + size * (c + 0.5), y = height * rows.length + 15;
      svg.append(drawn("text", below ? { x, y: y - 3, transform: `rotate(40 ${x} ${y - 3})` } : { x, y, "text-anchor": "middle" }, column.length > 26 ? `${column.slice(0, 25)}…` : column));
    });
    svg.append(drawn("text", { x: left + size * columns.length / 2, y: height * rows.length + foot + 14, "text-anchor": "middle" }, names[across]));
    const value = byId("heat-value");
    const described = (cell) => {
      const where = [down === null ? "" : `${names[down]} ${rows[cell.r]}`, `${names[across]} ${columns[cell.c]}`].filter(Boolean).join(", ");
      if (!cell.point || cell.point.status === "to do") return `${where}: not computed`;
      if (cell.point.status === "failed") return `${where}: failed. ${cell.point.reason}`;
      return `${where}: ${pretty(name)} = ${withError(cell.mean, cell.error)}${cell.point.status === "diverged" ? " (diverged)" : ""}`;
    };
    const here = placeNow();
    for (const cell of cells) {
      const colour = Number.isFinite(cell.mean) ? colours.colour(placed(cell.mean)) : colours.missing;
      const mine = cell.c === here[across] && (down === null || cell.r === here[down]);
      const rect = drawn("rect", { x: left + size * cell.c + 1, y: height * cell.r + 1, width: size - 2, height: height - 2, fill: `rgb(${colour})`, stroke: mine ? "var(--fg)" : "var(--rule)", "stroke-width": mine ? 2 : 0.6, tabindex: 0, role: "button", "aria-label": described(cell) });
      rect.append(drawn("title", {}, described(cell)));
      const read = () => { value.textContent = described(cell); };
      const pick = () => {
        picks[across].select.value = cell.c;
        if (down !== null) picks[down].select.value = cell.r;
        redraw();
        read();
      };
      rect.addEventListener("pointerenter", read);
      rect.addEventListener("focus", read);
      rect.addEventListener("click", pick);
      rect.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(); } });
      svg.append(rect);
      if (size >= 40 && Number.isFinite(cell.mean)) {
        const dark = colour[0] * 0.3 + colour[1] * 0.59 + colour[2] * 0.11 < 140;
        const short = number(Number(cell.mean.toPrecision(2)));
        const text = drawn("text", { x: left + size * (cell.c + 0.5), y: height * (cell.r + 0.5) + 4, "text-anchor": "middle", "pointer-events": "none" }, short);
        text.style.fill = dark ? "#ffffff" : "#1b1f24";
        svg.append(text);
      }
    }
    byId("heat").replaceChildren(svg);
    value.textContent = `${pretty(name)} from ${number(least)} to ${number(most)}${logarithmic ? ", colours by its logarithm" : ""}.`;
  };

  // --- Curves: all labels of one setting, one panel for each quantity that is of no layer or of that which is picked.
  const drawCurves = () => {
    const lines = besides();
    byId("legend").replaceChildren(...lines.map(({ label, place, point }) => {
      const item = element("li");
      const swatch = drawn("svg", { class: "swatch", viewBox: "0 0 28 12", "aria-hidden": "true" });
      swatch.append(drawn("path", { d: "M1 6h26", stroke: `var(--c${place % COLOURS})`, "stroke-width": 2.4, "stroke-dasharray": DASHES[Math.floor(place / COLOURS) % 3] }));
      item.append(swatch, element("span", {}, label + (!point || point.status === "to do" ? " (not computed)" : point.status === "done" ? "" : ` (${point.status})`)));
      return item;
    }));
    const wanted = data.quantities.filter((name) => layersOf(name) === null || layersOf(name) === layerNow());
    byId("panels").replaceChildren(...wanted.map((name) => panel(name, lines)));
  };
  const panel = (name, lines) => {
    const width = 320, height = 200, left = 46, bottom = 24, top = 6, right = 6;
    const curves = lines.map((line) => ({ ...line, curve: curveOf(line.point, name) })).filter((line) => line.curve);
    const figure = element("figure", { class: "panel" });
    figure.append(element("figcaption", {}, pretty(name)));
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${name} in time` });
    figure.append(svg);
    const finite = curves.flatMap(({ curve }) => curve.mean.filter(Number.isFinite));
    if (!finite.length) return figure;
    const starts = curves.map(({ curve }) => curve.mean.find(Number.isFinite));
    let least = Math.min(...finite), most = Math.max(...finite);
    const logarithmic = least > 0 && most > 20 * least;
    if (logarithmic) least = Math.max(least, 1e-4 * Math.min(most, Math.max(...starts)));
    if (least === most) { least -= 0.5 * Math.abs(least) || 0.5; most += 0.5 * Math.abs(most) || 0.5; }
    const end = Math.max(...curves.map(({ point }) => point.times.at(-1))) || 1;
    const x = (time) => left + (width - left - right) * time / end;
    const part = (value) => (logarithmic ? Math.log(Math.max(value, 1e-300) / least) / Math.log(most / least) : (value - least) / (most - least));
    const y = (value) => height - bottom - (height - bottom - top) * Math.max(-0.02, Math.min(1.02, part(value)));
    for (const share of [0, 0.5, 1]) {
      const value = logarithmic ? least * (most / least) ** share : least + share * (most - least);
      svg.append(drawn("path", { d: `M${left} ${y(value)}H${width - right}`, stroke: "var(--rule)", fill: "none" }));
      svg.append(drawn("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, number(Number(value.toPrecision(2)))));
      svg.append(drawn("text", { x: x(share * end), y: height - 7, "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle" }, number(Number((share * end).toPrecision(2)))));
    }
    for (const { curve, place, point } of curves) {
      const kept = point.times.map((time, i) => i).filter((i) => Number.isFinite(curve.mean[i]));
      const colour = `var(--c${place % COLOURS})`, single = kept.length === 1; // a dash, and a stroke for its error
      const upper = kept.map((i) => `${x(point.times[i])} ${y(curve.mean[i] + (curve.error[i] || 0))}`);
      const lower = kept.map((i) => `${x(point.times[i])} ${y(curve.mean[i] - (curve.error[i] || 0))}`).reverse();
      if (kept.some((i) => curve.error[i] > 0)) svg.append(drawn("path", { d: `M${[...upper, ...lower].join("L")}Z`, fill: colour, stroke: single ? colour : "none", opacity: single ? 1 : 0.2 }));
      svg.append(drawn("path", { d: `M${kept.map((i) => `${x(point.times[i])} ${y(curve.mean[i])}`).join("L")}${single ? "m-6 0h12" : ""}`, stroke: colour, "stroke-width": 1.8, fill: "none", "stroke-dasharray": DASHES[Math.floor(place / COLOURS) % 3] }));
    }
    svg.append(drawn("path", { d: `M${x(Math.min(now(), end))} ${top}V${height - bottom}`, stroke: "var(--muted)", "stroke-dasharray": "2 3", fill: "none" }));
    return figure;
  };

  // --- Kernels of the same points.
  let cell = null;
  const drawKernels = () => {
    if (!byId("kernel")) return;
    const kind = kinds[chosen("kernel")];
    const key = kind === "ntk" ? "ntk" : `${kind}/${layerNow()}`;
    const shown = besides().map((each) => ({ ...each, kernel: each.point && each.point.kernels && each.point.kernels[key] }));
    const most = Math.max(...shown.map(({ kernel }) => (kernel ? kernel.scale * LARGEST : 0))) || 1;
    const colours = scaleOfColours();
    byId("images").replaceChildren(...shown.map(({ label, point, kernel }) => {
      const figure = element("figure");
      const caption = element("figcaption", {}, label);
      const value = element("output", { class: "value" });
      caption.append(" ", value);
      figure.append(caption);
      if (!kernel) {
        figure.append(element("p", { class: "note" }, !point || point.status === "to do" ? "not computed" : point.status === "failed" ? "failed" : "no such kernel"));
        return figure;
      }
      const size = point.samples.length;
      const place = before(point.frames.map((frame) => point.times[frame]), now());
      const frame = Math.min(place, kernel.frames - 1);
      const numbers = numbersOf(kernel);
      const scale = Math.max(1, Math.ceil(240 / size));
      const canvas = element("canvas", { role: "img", "aria-label": `${data.kinds[kind].name} of ${label}` });
      canvas.width = canvas.height = size * scale;
      const context = canvas.getContext("2d");
      for (let row = 0; row < size; row++) for (let column = 0; column < size; column++) {
        const raw = numbers[(frame * size + row) * size + column];
        context.fillStyle = `rgb(${raw === MISSING ? colours.missing : colours.colour(raw * kernel.scale / most)})`;
        context.fillRect(column * scale, row * scale, scale, scale);
      }
      context.fillStyle = `rgb(${colours.line})`;
      for (const edge of point.edges) {
        context.fillRect(edge * scale - 1, 0, 2, canvas.height);
        context.fillRect(0, edge * scale - 1, canvas.width, 2);
      }
      const read = (event) => {
        const box = canvas.getBoundingClientRect();
        const from = (start, length, where) => Math.max(0, Math.min(size - 1, Math.floor(((where - start) / length) * size)));
        cell = [from(box.top, box.height, event.clientY), from(box.left, box.width, event.clientX)];
        readKernels();
      };
      canvas.addEventListener("pointermove", read);
      canvas.addEventListener("pointerdown", read);
      figure.append(canvas);
      const own = point.times[point.frames[place]];
      if (Math.abs(own - now()) > 1e-9 * Math.abs(now())) figure.append(element("p", { class: "note" }, `at time ${number(own)}`));
      figure.read = () => {
        const inside = cell && cell[0] < size && cell[1] < size;
        const raw = inside ? numbers[(frame * size + cell[0]) * size + cell[1]] : MISSING;
        value.textContent = raw === MISSING ? "" : number(raw * kernel.scale);
      };
      return figure;
    }));
    [...document.querySelectorAll("#scale .ticks span")].forEach((tick, i) => { tick.textContent = number(Number(((i - 2) / 2 * most).toPrecision(2))); });
    byId("scale").setAttribute("aria-label", `colour scale from ${number(-most)} to ${number(most)}`);
    const readKernels = () => {
      for (const figure of byId("images").children) if (figure.read) figure.read();
      const first = shown.find(({ kernel }) => kernel);
      byId("reading").textContent = cell && first ? `samples ${first.point.samples[cell[0]]} and ${first.point.samples[cell[1]]}` : "Point at an entry or touch it to read its value.";
    };
    readKernels();
  };

  const redraw = () => {
    const text = `time ${number(now())}`;
    byId("time-shown").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    drawHeat();
    drawCurves();
    drawKernels();
  };
  for (const select of document.querySelectorAll("select")) select.addEventListener("change", redraw);

  // --- Time.
  const play = byId("play");
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  slider.addEventListener("input", () => { if (timer) stop(); redraw(); });
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === Number(slider.max)) slider.value = 0;
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      redraw();
      if (Number(slider.value) === Number(slider.max)) stop();
    }, Math.min(400, Math.max(80, 6000 / Number(slider.max || 1))));
    redraw();
  });

  // --- Theme: auto, light or dark, in memory only.
  const themes = ["auto", "light", "dark"];
  let theme = 0;
  const toggle = byId("theme");
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    if (themes[theme] === "auto") delete root.dataset.theme;
    else root.dataset.theme = themes[theme];
    toggle.textContent = `Theme: ${themes[theme]}`;
    redraw();
  });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
})();
