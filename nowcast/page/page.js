// The page of nowcast: shows the newest forecast of the folder it lies in and looks for a newer one now and then, or,
// as a page that is one file, the forecast that is inside it.
// Fields come as one byte a pixel (see writing.py); whatever is text from outside is put in as text, never as markup.
"use strict";

const POLL_MS = 15000, FRAME_MS = 400, LAST_MS = 1600, KEPT_FIELDS = 48, DEEPEST_ZOOM = 24;
const PLAY = "M7 4v16l13-8z", PAUSE = "M6 4h4.5v16H6zM13.5 4H18v16h-4.5z";
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const $ = (id) => document.getElementById(id);
const canvas = $("map"), pen = canvas.getContext("2d");

const inside = $("data") && JSON.parse($("data").textContent);  // all that a page which is one file has to show

let manifest = null, status = null, lines = null, linesFile = null;
let layer = null, index = 0, playing = !calm.matches, timer = 0;
let field = null;                 // codes of the frame on screen, with its width and height
let view = null;                  // zoom (1 = the whole grid fits) and the place in the middle, in cells as wide as high
let cross = null;                 // column and row whose value is read: under the mouse, or pinned by a click, a touch or the keyboard
let pinned = false;
let problem = "";                 // of the last look for news
const fields = new Map();         // promises of codes by address, oldest first
const paper = document.createElement("canvas"), rain = document.createElement("canvas");

// ---------------------------------------------------------------- getting data

async function fetched(url) {
  const answer = await fetch(url, { cache: url.includes("?") ? "default" : "no-cache" });
  if (!answer.ok) throw new Error(answer.status === 404 ? "missing" : `HTTP ${answer.status}`);
  return answer;
}

async function json(url) {
  return (await fetched(url)).json();
}

function address(of, file) {
  return inside ? file : `page/${of.folder}/${file}`;
}

function codes(of, file) {
  const url = address(of, file);
  let promise = fields.get(url);
  if (!promise) {
    promise = unpacked(url, of.grid.width * of.grid.height);
    promise.catch(() => fields.delete(url));
  }
  fields.delete(url);
  fields.set(url, promise);
  for (const old of fields.keys()) {
    if (fields.size <= KEPT_FIELDS) break;
    fields.delete(old);
  }
  return promise;
}

async function unpacked(url, size) {
  const packed = inside ? new Blob([binary(inside.fields[url])]).stream() : (await fetched(url)).body;
  const stream = packed.pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  if (bytes.length !== size) throw new Error(`${bytes.length} bytes came instead of ${size}`);
  return bytes;
}

function binary(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// ---------------------------------------------------------------- looking for news

async function look() {
  const [news, state] = await Promise.allSettled([json("page/latest.json"), json("status.json")]);
  status = state.status === "fulfilled" ? state.value : news.value?.status ?? status;
  problem = "";
  if (news.status === "rejected") {
    problem = news.reason.message === "missing" ? (manifest ? "The forecast files are missing." : "") : "No connection to the server; trying again.";
    if (!manifest) say(news.reason.message === "missing" ? NOTHING_YET : "No forecast can be read from this server at the moment; trying again.");
  } else if (news.value.version !== 1) {
    say("The data here were written by another version of nowcast; reload the page.");
  } else if (news.value.made !== manifest?.made) {
    await take(news.value).catch((error) => {
      problem = `The newest forecast cannot be shown yet (${error.message}).`;
      if (!manifest) say("Files of the forecast are missing; trying again.");
    });
  }
  describeStatus();
  tick();
}

const NOTHING_YET = "No forecast yet. The first one appears here as soon as nowcast watch has made it.";

async function take(news) {
  // Everything that the first picture needs comes before the old forecast goes: a page on screen never turns empty.
  const chosen = news.layers.find((one) => one.name === layer?.name) ?? news.layers[0];
  const start = playing || !manifest ? firstFrame(news, chosen) : sameFrame(news, chosen);
  await codes(news, chosen.files[start]);
  if (news.lines !== linesFile) {
    lines = paths(inside ? news.lines : await json(`page/${news.lines}`), news.grid.aspect);
    linesFile = news.lines;
  }
  const moved = !manifest || manifest.lines !== news.lines;
  manifest = news;
  layer = chosen;
  if (moved) place(null);
  if (moved) home();
  say("");
  build();
  await show(start);
  if (playing) play();
}

function firstFrame(news, chosen) {
  const now = Date.now(), usable = news.frames.map((_, i) => i).filter((i) => chosen.files[i]);
  const next = usable.find((i) => Date.parse(news.frames[i].valid_time) >= now && news.frames[i].lead_seconds > 0);
  return next ?? usable.find((i) => news.frames[i].lead_seconds > 0) ?? usable.at(-1);
}

function sameFrame(news, chosen) {
  const time = Date.parse(manifest.frames[index].valid_time);
  const usable = news.frames.map((_, i) => i).filter((i) => chosen.files[i]);
  const away = (i) => Math.abs(Date.parse(news.frames[i].valid_time) - time);
  return usable.reduce((best, i) => (away(i) < away(best) ? i : best), usable[0]);
}

// ---------------------------------------------------------------- controls that depend on the forecast

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function build() {
  document.body.classList.remove("empty");
  $("layer-list").replaceChildren(...manifest.layers.map((one) => {
    const label = element("label"), input = element("input", undefined, label);
    Object.assign(input, { type: "radio", name: "layer", value: one.name, checked: one === layer });
    input.addEventListener("change", () => choose(one));
    element("span", one.title, label);
    return label;
  }));
  $("note").hidden = !manifest.layers.some((one) => one.scale === "percent");
  $("note").textContent = manifest.probabilities ? `Probability: ${manifest.probabilities}.` : "";  // an older nowcast did not say
  $("slider").max = manifest.frames.length - 1;
  $("slider").disabled = false;
  $("track-observed").style.flexGrow = manifest.observed_frames;
  $("track-forecast").style.flexGrow = manifest.frames.length - manifest.observed_frames;
  $("reduced").textContent = manifest.grid.reduced ? "· means over blocks of the grid" : "";
  $("analysis").textContent = `${forecasts() ? "from" : "until"} ${day(manifest.analysis_time)}, ${clock(manifest.analysis_time)} UTC`;
  $("slider").setAttribute("aria-label", forecasts() ? "Lead time" : "Time");
  legend();
}

function forecasts() {
  return manifest.observed_frames < manifest.frames.length;
}

async function choose(one) {
  layer = one;
  legend();
  await show(one.files[index] ? index : firstFrame(manifest, one));
}

function scale() {
  return manifest.scales[layer.scale];
}

function legend() {
  const { legend: entries, colours } = scale();
  $("legend-title").textContent = `${layer.title} [${layer.unit}]`;
  $("legend-list").replaceChildren(...entries.map((entry, i) => {
    const item = element("li");
    element("i", undefined, item).style.background = `rgb(${colours[i]})`;
    element("span", i ? `${entry.from}` : layer.scale === "percent" ? "0" : "dry", item);
    return item;
  }));
}

// ---------------------------------------------------------------- time

const clock = (time) => new Date(time).toISOString().slice(11, 16);
const day = (time) => new Date(time).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });

function localTime(time) {
  const date = new Date(time);
  const there = date.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const here = date.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const hour = date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return `${there === here ? "" : `${there}, `}${hour} local`;
}

function lead(seconds) {
  const minutes = Math.round(seconds / 60 * 10) / 10;
  return `${minutes > 0 ? "+" : minutes < 0 ? "−" : ""}${Math.abs(minutes)} min`;
}

function label() {
  const frame = manifest.frames[index], observed = layer.observed || index < manifest.observed_frames;
  $("lead").textContent = forecasts() ? lead(frame.lead_seconds) : `${clock(frame.valid_time)} UTC`;
  $("kind").textContent = observed ? "observed" : "forecast";
  $("utc").textContent = forecasts() ? `${day(frame.valid_time)}, ${clock(frame.valid_time)} UTC` : day(frame.valid_time);
  $("local").textContent = localTime(frame.valid_time);
  $("slider").value = index;
  $("slider").setAttribute("aria-valuetext", `${lead(frame.lead_seconds)}, valid ${clock(frame.valid_time)} UTC`);
}

let asked = 0;

async function show(wanted) {
  const ask = ++asked, from = manifest;
  index = Math.min(Math.max(wanted, 0), manifest.frames.length - 1);
  label();
  const file = layer.files[index];
  let found = null;
  if (file) {
    found = await codes(from, file).catch(() => null);
    if (ask !== asked || from !== manifest) return;
  }
  field = found && { codes: found, width: from.grid.width, height: from.grid.height };
  note(found ? "" : file ? "The file of this frame is missing or damaged." : "This layer begins with the forecast.");
  paint();
  read();
  soon();
}

function soon() {
  // The frames after this one, so that the animation does not wait for them.
  for (let i = 1; i <= 4; i++) {
    const file = layer.files[(index + i) % manifest.frames.length];
    if (file) codes(manifest, file).catch(() => null);
  }
}

function play() {
  playing = true;
  $("play-sign").setAttribute("d", PAUSE);
  $("play").setAttribute("aria-label", "Pause");
  clearTimeout(timer);
  timer = setTimeout(step, index === manifest?.frames.length - 1 ? LAST_MS : FRAME_MS);
}

async function step() {
  if (!playing || !manifest) return;
  const usable = manifest.frames.map((_, i) => i).filter((i) => layer.files[i]);
  await show(usable.find((i) => i > index) ?? usable[0]);
  if (playing) play();
}

function pause() {
  playing = false;
  clearTimeout(timer);
  $("play-sign").setAttribute("d", PLAY);
  $("play").setAttribute("aria-label", "Play");
}

// ---------------------------------------------------------------- drawing

function paths(found, aspect) {
  // Tenths of a pixel, pixel centres at whole numbers, into cells as wide as high.
  const made = {};
  for (const kind of ["border", "coast"]) {
    made[kind] = new Path2D();
    for (const line of found[kind] ?? []) {
      for (let i = 0; i + 1 < line.length; i += 2) {
        const x = (line[i] / 10 + 0.5) * aspect, y = line[i + 1] / 10 + 0.5;
        if (i) made[kind].lineTo(x, y); else made[kind].moveTo(x, y);
      }
    }
  }
  return made;
}

function tables() {
  // Colour of every code, little endian: the rain, and the white paper below it wherever something was observed.
  const { classes, colours } = scale(), wet = new Uint32Array(256), dry = new Uint32Array(256);
  for (let code = 1; code < 256; code++) {
    const group = classes[Math.min(code, classes.length - 1)], [red, green, blue] = colours[group];
    dry[code] = 0xffffffff;
    if (group > 0) wet[code] = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
  }
  return { wet, dry };
}

function paint() {
  if (field) {
    const { wet, dry } = tables(), { width, height } = field;
    for (const [layerOf, table] of [[paper, dry], [rain, wet]]) {
      if (layerOf.width !== width || layerOf.height !== height) Object.assign(layerOf, { width, height });
      const context = layerOf.getContext("2d"), image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
      for (let i = 0; i < pixels.length; i++) pixels[i] = table[field.codes[i]];
      context.putImageData(image, 0, 0);
    }
  }
  redraw();
}

let drawing = false;

function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}

function hatching(ratio) {
  const tile = document.createElement("canvas"), size = Math.round(7 * ratio), style = getComputedStyle(document.documentElement);
  tile.width = tile.height = size;
  const context = tile.getContext("2d");
  context.fillStyle = style.getPropertyValue("--missing");
  context.fillRect(0, 0, size, size);
  context.strokeStyle = style.getPropertyValue("--hatch");
  context.lineWidth = 1.2 * ratio;
  for (const shift of [-size, 0, size]) {
    context.beginPath();
    context.moveTo(shift - 1, size + 1);
    context.lineTo(shift + size + 1, -1);
    context.stroke();
  }
  return pen.createPattern(tile, "repeat");
}

function world() {
  return { width: manifest.grid.width * manifest.grid.aspect, height: manifest.grid.height };
}

function fit() {
  const { width, height } = world();
  return Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
}

function home() {
  const [left, top, right, bottom] = manifest.view, a = manifest.grid.aspect, edge = 1.04;
  const wide = Math.max((right - left) * a, 1) * edge, tall = Math.max(bottom - top, 1) * edge;
  const zoom = Math.min(canvas.clientWidth / wide, canvas.clientHeight / tall) / fit();
  view = { zoom: Math.max(1, zoom), x: (left + right) / 2 * a, y: (top + bottom) / 2, home: true };
  redraw();
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const wide = Math.round(canvas.clientWidth * ratio), tall = Math.round(canvas.clientHeight * ratio);
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, wide, tall);
  if (!manifest || !view || !wide || !tall) return;
  const zoom = fit() * view.zoom * ratio, { width, height } = world();
  const left = wide / 2 - view.x * zoom, top = tall / 2 - view.y * zoom;
  pen.fillStyle = hatching(ratio);
  pen.fillRect(left, top, width * zoom, height * zoom);
  pen.imageSmoothingEnabled = false;
  if (field) {
    pen.drawImage(paper, left, top, width * zoom, height * zoom);
    pen.globalAlpha = $("opacity").value / 100;
    pen.drawImage(rain, left, top, width * zoom, height * zoom);
    pen.globalAlpha = 1;
  }
  pen.setTransform(zoom, 0, 0, zoom, left, top);
  pen.lineJoin = "round";
  for (const [kind, thick, dark] of [["border", 1, "rgb(40 44 50 / 65%)"], ["coast", 1.3, "rgb(25 28 32 / 90%)"]]) {
    for (const [colour, extra] of [["rgb(255 255 255 / 55%)", 1.6], [dark, 0]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = (thick + extra) * ratio / zoom;
      if (lines) pen.stroke(lines[kind]);
    }
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  if (cross) drawCross((cross.column + 0.5) * manifest.grid.aspect * zoom + left, (cross.row + 0.5) * zoom + top, ratio);
  scalebar(zoom / ratio);
}

function drawCross(x, y, ratio) {
  for (const [colour, thick] of [["white", 4], ["#111", 1.6]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick * ratio;
    pen.beginPath();
    pen.arc(x, y, 7 * ratio, 0, 2 * Math.PI);
    for (const [across, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + across * 7 * ratio, y + down * 7 * ratio);
      pen.lineTo(x + across * 13 * ratio, y + down * 13 * ratio);
    }
    pen.stroke();
  }
}

function scalebar(pixelsPerCell) {
  const cell = manifest.grid.cell_km;
  $("scalebar").hidden = !cell;
  if (!cell) return;
  const perKilometre = pixelsPerCell / cell[0], most = Math.min(140, canvas.clientWidth / 3) / perKilometre;
  const power = 10 ** Math.floor(Math.log10(most)), length = power * [5, 2, 1].find((step) => step * power <= most * (1 + 1e-9));
  $("scalebar-text").textContent = `${length} km`;
  $("scalebar-line").style.width = `${length * perKilometre}px`;
}

// ---------------------------------------------------------------- the value under the cross

function cellAt(clientX, clientY) {
  const box = canvas.getBoundingClientRect(), zoom = fit() * view.zoom;
  const x = (clientX - box.left - canvas.clientWidth / 2) / zoom + view.x, y = (clientY - box.top - canvas.clientHeight / 2) / zoom + view.y;
  const column = Math.floor(x / manifest.grid.aspect), row = Math.floor(y);
  return column >= 0 && row >= 0 && column < manifest.grid.width && row < manifest.grid.height ? { column, row } : null;
}

function read() {
  $("value").hidden = !cross || !field;
  if ($("value").hidden) return;
  const code = field.codes[cross.row * field.width + cross.column], { classes, colours } = scale();
  $("value-text").textContent = words(code);
  $("swatch").className = code ? "" : "hatched";
  $("swatch").style.background = code ? `rgb(${colours[classes[Math.min(code, classes.length - 1)]]})` : "";
}

function words(code) {
  const { values, edges } = scale();
  if (code === 0) return layer.observed || index < manifest.observed_frames ? "not observed" : "not observed, no forecast";
  if (layer.scale === "percent") return `${code - 1} %`;
  if (code === 1) return `dry (below ${edges[0]} ${layer.unit})`;
  if (code - 2 >= values.length - 1) return `${edges[values.length - 1].toPrecision(3)} ${layer.unit} or more`;
  return `${Number(values[code - 2].toPrecision(3))} ${layer.unit}`;
}

function place(at, stays = false) {
  cross = at;
  pinned = stays && at !== null;
  read();
  redraw();
}

// ---------------------------------------------------------------- moving the map

function hold() {
  // The map covers the stage: no edge of the grid comes further in than the middle half.
  const { width, height } = world();
  view.zoom = Math.min(Math.max(view.zoom, 1), DEEPEST_ZOOM);
  view.x = Math.min(Math.max(view.x, 0), width);
  view.y = Math.min(Math.max(view.y, 0), height);
  view.home = false;
  canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
  redraw();
}

function zoomBy(factor, clientX, clientY) {
  if (!view) return;
  const box = canvas.getBoundingClientRect(), before = fit() * view.zoom;
  const x = (clientX ?? box.left + box.width / 2) - box.left - canvas.clientWidth / 2, y = (clientY ?? box.top + box.height / 2) - box.top - canvas.clientHeight / 2;
  view.zoom = Math.min(Math.max(view.zoom * factor, 1), DEEPEST_ZOOM);
  const after = fit() * view.zoom;
  view.x += x / before - x / after;
  view.y += y / before - y / after;
  hold();
}

const fingers = new Map();
let travelled = 0;

canvas.addEventListener("pointerdown", (event) => {
  if (!view || event.button > 0) return;
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  canvas.setPointerCapture(event.pointerId);
  travelled = 0;
});

canvas.addEventListener("pointermove", (event) => {
  if (!view) return;
  const finger = fingers.get(event.pointerId);
  if (!finger) {
    if (event.pointerType === "mouse" && !pinned) place(cellAt(event.clientX, event.clientY));
    return;
  }
  const before = [...fingers.values()].map(({ x, y }) => ({ x, y }));
  const zoom = fit() * view.zoom, across = event.clientX - finger.x, down = event.clientY - finger.y;
  travelled += Math.hypot(across, down);
  Object.assign(finger, { x: event.clientX, y: event.clientY });
  if (travelled < 5) return;
  canvas.classList.add("moving");
  view.x -= across / zoom / fingers.size;
  view.y -= down / zoom / fingers.size;
  hold();
  if (fingers.size === 2) {
    const apart = (pair) => Math.hypot(pair[0].x - pair[1].x, pair[0].y - pair[1].y), now = [...fingers.values()];
    if (apart(before) > 10) zoomBy(apart(now) / apart(before), (now[0].x + now[1].x) / 2, (now[0].y + now[1].y) / 2);
  }
});

for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, (event) => {
    if (fingers.delete(event.pointerId) && travelled < 5 && kind === "pointerup") pin(event.clientX, event.clientY);
    if (!fingers.size) canvas.classList.remove("moving");
  });
}

canvas.addEventListener("pointerleave", (event) => {
  if (event.pointerType === "mouse" && !pinned) place(null);
});

function pin(clientX, clientY) {
  // A second click on the same place takes the pin away.
  const near = [-8, 0, 8].some((across) => [-8, 0, 8].some((down) => {
    const cell = cellAt(clientX + across, clientY + down);
    return pinned && cell && cell.column === cross.column && cell.row === cross.row;
  }));
  place(near ? null : cellAt(clientX, clientY), true);
}

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(2 ** (-event.deltaY * (event.deltaMode ? 20 : 1) / 300), event.clientX, event.clientY);
}, { passive: false });

canvas.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (!manifest || !moves[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  event.stopPropagation();
  $("value").setAttribute("aria-live", "polite");
  const { width, height, aspect } = manifest.grid, far = event.shiftKey ? 10 : 1;
  const from = cross ?? { column: Math.floor(view.x / aspect), row: Math.floor(view.y) };
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  place({ column: within(from.column + moves[event.key][0] * far, width), row: within(from.row + moves[event.key][1] * far, height) }, true);
});

document.addEventListener("keydown", (event) => {
  if (!manifest || event.altKey || event.ctrlKey || event.metaKey) return;
  const kind = event.target.type, typed = kind === "range" || kind === "radio";
  const actions = {
    Escape: () => place(null), "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), "0": home,
    ...(typed ? {} : { ArrowRight: () => seek(index + 1), ArrowLeft: () => seek(index - 1), Home: () => seek(0), End: () => seek(manifest.frames.length - 1) }),
    ...(event.target.localName === "button" || event.target.localName === "summary" || kind === "radio" ? {} : { " ": toggle }),
  };
  if (!Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

function seek(wanted) {
  pause();
  show(wanted);
}

function toggle() {
  if (playing) pause(); else if (manifest) play();
}

$("play").addEventListener("click", toggle);
$("slider").addEventListener("input", () => seek(Number($("slider").value)));
$("opacity").addEventListener("input", () => { $("opacity-text").textContent = `${$("opacity").value} %`; redraw(); });
$("zoom-in").addEventListener("click", () => zoomBy(1.5));
$("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
$("zoom-home").addEventListener("click", () => manifest && home());
new ResizeObserver(() => (view?.home ? home() : redraw())).observe(canvas);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// ---------------------------------------------------------------- words about the state of things

function say(text) {
  $("message").hidden = !text;
  $("message").className = "";
  $("message-text").textContent = text;
}

function note(text) {
  say(text);
  $("message").className = text ? "note" : "";
}

function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds)), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  if (hours >= 17532) return `${Math.floor(hours / 8766)} years`;
  if (hours >= 48) return `${Math.floor(hours / 24)} days`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (!minutes) return `${whole} s`;
  return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
}

function tick() {
  const now = Date.now();
  $("age").hidden = !manifest || manifest.archived;
  if (manifest) {
    const age = (now - Date.parse(manifest.analysis_time)) / 1000, over = forecasts() && now > Date.parse(manifest.frames.at(-1).valid_time);
    const old = !inside && age > manifest.old_after_seconds;  // a newer one does not come into a file
    $("age").className = `chip ${over ? (inside ? "warn" : "bad") : old ? "warn" : ""}`;
    $("age-text").textContent = age < 0 ? "data from the future: check the clock" : `data ${span(age)} old${over ? ": the forecast has ended" : old ? ": late" : ""}`;
  }
  if (inside) return;
  const updated = Date.parse(status?.updated), silent = (now - updated) / 1000;
  const next = Date.parse(status?.next_expected), patience = manifest?.old_after_seconds ?? 3600;
  const lost = status?.state === "running" && silent > patience && !(now < next + 1000 * patience);
  $("life").textContent = [
    problem,
    lost ? `No word from nowcast watch for ${span(silent)}.` : Number.isFinite(updated) ? `Last word from nowcast watch ${span(silent)} ago.` : "",
    next > now ? `Next forecast expected in ${span((next - now) / 1000)}.` : "",
  ].filter(Boolean).join(" ");
  const [kind, text] = condition(lost);
  $("state").hidden = !text;
  $("state").className = `chip ${kind}`;
  $("state-text").textContent = text;
}

function condition(lost) {
  if (problem) return ["warn", "connection or files missing"];
  if (!status?.state) return ["", ""];
  if (status.state === "stopped") return ["bad", "nowcast watch has stopped"];
  if (lost) return ["bad", "nowcast watch is silent"];
  if (status.outcome === "fallback") return ["warn", `fallback: ${by(status)}`];
  if (status.outcome === "none" && !status.analysis_time) return ["", "started"];
  if (status.outcome === "none") return ["bad", "no forecast from the newest data"];
  return ["", "running"];
}

const METHODS = { nowcast: "the network", extrapolation: "extrapolation of the motion", persistence: "persistence, nothing moves" };

function by({ method, outcome }) {
  const name = METHODS[method] ?? method ?? "an unnamed method";
  return outcome === "fallback" && method === "nowcast" ? `${name} from older data` : name;
}

function describeStatus() {
  const known = status ?? {};
  $("outcome").textContent = { forecast: `Forecast by ${by(known)}.`, fallback: `Fallback: forecast by ${by(known)}.`, none: known.analysis_time ? "No forecast could be made from the newest data." : "Started." }[known.outcome]
    ?? "No status yet.";
  $("reason").hidden = !known.reason;
  $("reason").textContent = known.reason ?? "";
  const rejected = Array.isArray(known.rejected) ? known.rejected : [];
  $("rejected").hidden = !rejected.length;
  $("rejected-summary").textContent = `${rejected.length} ${rejected.length === 1 ? "file" : "files"} not used`;
  $("rejected-list").replaceChildren(...rejected.slice(0, 100).map((one) => element("li", `${one?.file}: ${one?.reason}`)));
}

function describeFile() {
  // What is said of a forecast in a file, in place of the status of a watch.
  document.title = $("title").textContent = inside.title;
  $("status").setAttribute("aria-label", "About");
  $("status-title").textContent = "About";
  for (const name of ["outcome", "life"]) $(name).hidden = true;
  $("about").hidden = false;
  $("about").replaceChildren(...inside.about.map(([name, text]) => {
    const pair = element("div");
    element("dt", name, pair);
    element("bdi", text, element("dd", undefined, pair));
    return pair;
  }));
}

// ---------------------------------------------------------------- begin

let looking = false, next = 0;

async function run() {
  if (looking) return;
  looking = true;
  clearTimeout(next);
  await look().catch((error) => { problem = `This page has met an error (${error.message}).`; tick(); });
  looking = false;
  next = setTimeout(run, POLL_MS);
}

function begin() {
  if (playing) $("play-sign").setAttribute("d", PAUSE);
  setInterval(tick, 1000);
  if (inside) {
    describeFile();
    take(inside).then(tick).catch((error) => say(`This page is damaged or cut short (${error.message}).`));
    return;
  }
  run();
  document.addEventListener("visibilitychange", () => document.hidden || run());  // timers of hidden pages are slow
}

if (!inside && location.protocol === "file:") {
  say("A page that is opened as a file may not read its data. Run “nowcast serve” on this folder and open the address it prints.");
} else if (typeof DecompressionStream === "undefined") {
  say("This browser is too old for this page: it cannot unpack data (DecompressionStream). Browsers since 2023 can.");
} else {
  begin();
}
