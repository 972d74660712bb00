"use strict";
const $ = (id) => document.getElementById(id);
const ROW = 28;
const LEFT_OUT = null;
let data = null; // the columns of the store's clips
let key = "";
let texts = []; // what the search looks at, in lower case
let predicted = new Map(); // clip -> [class, probability]
let errors = null; // clip -> [suggested class, rank], once computed
let corrections = new Map(); // clip -> label, or LEFT_OUT
let shown = []; // clips of the list, in its order
let selected = -1; // clip
let points = null; // of the map: {clips, points}
let inList = new Uint8Array();
let colours = { names: [], of: () => 0 };
let emphasis = -1; // entry of the legend under the pointer

async function ask(address, options) {
  const answer = await fetch(address, options);
  const value = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(value.error);
  return value;
}

async function doing(what, work) {
  $("state").className = "";
  $("state").textContent = what;
  try {
    await work();
    if ($("state").textContent === what) $("state").textContent = "";
  } catch (error) {
    $("state").className = "error";
    $("state").textContent = error.message;
  }
}

function fill(select, entries, first) {
  const chosen = first === undefined ? entries : [["", first], ...entries];
  $(select).replaceChildren(...chosen.map(([value, text]) => new Option(text, value)));
}

const labelOf = (clip) => (corrections.has(clip) ? corrections.get(clip) ?? "(left out)"
  : data.classes[data.label[clip]] ?? "(none)");
const isRight = (clip) => predicted.get(clip)[0] === data.label[clip];
const percent = (share) => `${Math.round(100 * share)} %`;

// Stores and runs

let stores = [];

async function start() {
  const { folder, stores: found, damaged } = await ask("stores/");
  stores = found;
  document.title = `${folder} – featstore`;
  fill("store", stores.map((store) => [store.key, `${store.title} (${store.name})`]));
  if (!stores.length) throw new Error(`There is no store in ${folder}.`);
  await openStore();
  if (damaged.length) throw new Error(damaged.join(" "));
}

async function openStore() {
  key = $("store").value;
  const store = stores.find((one) => one.key === key);
  data = await ask(`stores/${key}/clips`);
  texts = data.id.map((id, i) => `${id} ${data.videos[data.video[i]]}`.toLowerCase());
  errors = points = null;
  selected = -1;
  $("detail").hidden = true;
  corrections = new Map(JSON.parse(localStorage.getItem(`corrections ${key}`) || "[]"));
  const sorted = (names) => names.map((name, i) => [i, name]).sort((a, b) => a[1].localeCompare(b[1]));
  fill("label", sorted(data.classes), "any");
  fill("predicted", sorted(data.classes), "any");
  fill("subject", sorted(data.subjects), "any");
  fill("split", data.parts.map((part, i) => [i, part]), "any");
  fill("correct", [...data.classes.map((name) => [name, name]), ["", "(leave the clip out)"]]);
  fill("run", store.runs.map((run, i) => [i, run.error ? `${run.name}: damaged`
    : `${run.name} (${run.recipe}, ${run.part} top-1 ${percent(run.top1)})`]), "none");
  if (store.runs.length) $("run").value = store.runs.length - 1;
  $("filters").reset();
  await openRun();
  await doing("computing the map…", loadMap);
}

async function openRun() {
  predicted = new Map();
  try {
    if ($("run").value) {
      const run = await ask(`stores/${key}/runs/${$("run").value}`);
      run.clips.forEach((clip, i) => predicted.set(clip, [run.predicted[i], run.probability[i]]));
    }
  } finally {
    filter();
    if (selected >= 0) select(selected);
  }
}

// The list

function filter() {
  const chosen = (id) => ($(id).value === "" ? -1 : Number($(id).value));
  const [label, subject, split, guess] = ["label", "subject", "split", "predicted"].map(chosen);
  const [outcome, show, order] = [$("outcome").value, $("show").value, $("order").value];
  const text = $("text").value.trim().toLowerCase();
  shown = [];
  for (let clip = 0; clip < data.id.length; clip += 1) {
    if (label >= 0 && data.label[clip] !== label) continue;
    if (subject >= 0 && data.subject[clip] !== subject) continue;
    if (split >= 0 && data.split[clip] !== split) continue;
    if (text && !texts[clip].includes(text)) continue;
    if (show === "errors" && !errors?.has(clip)) continue;
    if (show === "corrected" && !corrections.has(clip)) continue;
    if (guess >= 0 || outcome || order) {
      const prediction = predicted.get(clip);
      if (!prediction || (guess >= 0 && prediction[0] !== guess)) continue;
      if (outcome && isRight(clip) !== (outcome === "right")) continue;
    }
    shown.push(clip);
  }
  const sign = order === "sure" ? -1 : 1;
  if (order) shown.sort((a, b) => sign * (predicted.get(a)[1] - predicted.get(b)[1]));
  else if (show === "errors") shown.sort((a, b) => errors.get(a)[1] - errors.get(b)[1]);
  inList = new Uint8Array(data.id.length);
  for (const clip of shown) inList[clip] = 1;
  $("third").textContent = show === "errors" ? "suggested" : "prediction";
  const count = shown.length.toLocaleString("en");
  $("count").textContent = `${count} of ${data.id.length.toLocaleString("en")} clips`;
  $("spacer").style.height = `${shown.length * ROW}px`;
  $("export").hidden = !corrections.size;
  $("export").textContent = `Write a table with ${corrections.size} corrected`;
  $("list").scrollTop = 0;
  drawList();
  drawMap();
}

const rows = []; // elements, used again for the rows in sight

function drawList() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
  const count = Math.min(shown.length - first, Math.ceil(list.clientHeight / ROW) + 10);
  while (rows.length < count) {
    const row = document.createElement("div");
    row.className = "row";
    row.setAttribute("role", "option");
    row.append(...Array.from({ length: 5 }, () => document.createElement("span")));
    list.append(row);
    rows.push(row);
  }
  rows.forEach((row, i) => {
    row.hidden = i >= count;
    if (!row.hidden) drawRow(row, first + i);
  });
}

function drawRow(row, position) {
  const clip = shown[position];
  const prediction = predicted.get(clip);
  const [id, label, third, subject, split] = row.children;
  row.style.top = `${position * ROW}px`;
  row.id = `row${position}`;
  row.dataset.clip = clip;
  row.setAttribute("aria-posinset", position + 1);
  row.setAttribute("aria-setsize", shown.length);
  row.setAttribute("aria-selected", clip === selected);
  id.textContent = `\u200e${data.id[clip]}`;
  id.title = data.id[clip];
  label.textContent = label.title = labelOf(clip) + (corrections.has(clip) ? " ✎" : "");
  third.className = "";
  if ($("show").value === "errors") {
    third.textContent = data.classes[errors.get(clip)[0]];
  } else if (prediction) {
    third.className = isRight(clip) ? "good" : "bad";
    const mark = isRight(clip) ? "✓" : "✗";
    third.textContent = `${mark} ${data.classes[prediction[0]]} ${percent(prediction[1])}`;
  } else third.textContent = "";
  third.title = third.textContent;
  subject.textContent = subject.title = data.subjects[data.subject[clip]];
  split.textContent = data.parts[data.split[clip]];
  if (clip === selected) $("list").setAttribute("aria-activedescendant", row.id);
}

function move(position) {
  if (!shown.length) return;
  const to = Math.max(0, Math.min(shown.length - 1, position));
  const list = $("list");
  if (to * ROW < list.scrollTop) list.scrollTop = to * ROW;
  const end = (to + 1) * ROW - list.clientHeight;
  if (end > list.scrollTop) list.scrollTop = end;
  select(shown[to]);
}

$("list").addEventListener("scroll", () => requestAnimationFrame(drawList));
$("list").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (row) select(Number(row.dataset.clip));
});
$("list").addEventListener("keydown", (event) => {
  const page = Math.floor($("list").clientHeight / ROW) - 1;
  const at = shown.indexOf(selected);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page,
    Home: 0, End: shown.length - 1 }[event.key];
  if (to !== undefined) move(to);
  else if (event.key === "Enter") $("video").paused ? $("video").play() : $("video").pause();
  else if (event.key === "c" && !event.ctrlKey && !event.metaKey) takeSuggestion();
  else return;
  event.preventDefault();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select")) return;
  event.preventDefault();
  $("text").focus();
});

// One clip

let waiting = 0;

function select(clip) {
  selected = clip;
  const prediction = predicted.get(clip);
  $("detail").hidden = false;
  $("name").textContent = data.id[clip];
  const facts = {
    label: data.classes[data.label[clip]] ?? "(none)",
    prediction: prediction && `${data.classes[prediction[0]]}, ${percent(prediction[1])}`,
    subject: data.subjects[data.subject[clip]],
    split: data.parts[data.split[clip]],
    video: data.videos[data.video[clip]],
    frames: `${data.start[clip]} to ${data.stop[clip]}, from ${data.seconds[clip]} s`,
    steps: data.row_size[clip],
    features: data.failed.includes(clip) ? "FAILED when the store was built" : "",
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([name, value]) => ["dt", "dd"].map((tag) => Object.assign(
      document.createElement(tag), { textContent: tag === "dt" ? name : value }))));
  $("correct").value = corrections.has(clip) ? corrections.get(clip) ?? ""
    : data.classes[data.label[clip]];
  const suggestion = errors?.get(clip);
  $("take").hidden = !suggestion;
  if (suggestion) $("take").textContent = `Take ${data.classes[suggestion[0]]}`;
  drawList();
  drawMap();
  clearTimeout(waiting); // not for every clip that an arrow key passes
  waiting = setTimeout(() => showMore(clip), 200);
}

async function showMore(clip) {
  const still = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  $("video-error").textContent = "";
  $("video").autoplay = still;
  $("video").src = `stores/${key}/video/${clip}`;
  $("neighbours").replaceChildren();
  await doing("", async () => {
    const near = await ask(`stores/${key}/neighbours/${clip}`);
    if (clip !== selected) return;
    $("neighbours").replaceChildren(...near.map(([other, cosine]) => {
      const button = document.createElement("button");
      button.textContent = labelOf(other);
      button.title = data.id[other];
      button.addEventListener("click", () => select(other));
      const item = document.createElement("li");
      const [subject, split] = [data.subjects[data.subject[other]], data.parts[data.split[other]]];
      item.append(button, ` ${subject}, ${split}, ${cosine.toFixed(2)}`);
      return item;
    }));
  });
}

$("video").addEventListener("error", async () => {
  const clip = selected;
  try {
    await ask(`stores/${key}/video/${clip}`);
  } catch (error) {
    if (clip === selected) $("video-error").textContent = error.message;
  }
});

// Label errors and corrections

async function findErrors() {
  if (errors || $("show").value !== "errors") return;
  await doing("looking for label errors…", async () => {
    const found = await ask(`stores/${key}/errors`);
    errors = new Map(found.clips.map((clip, i) => [clip, [found.suggested[i], i]]));
    $("state").textContent = `${errors.size} of ${found.judged} clips, by a logistic regression `
      + `on other subjects (${found.folds} folds)`;
  });
}

function correct(clip, label) {
  if (label === data.classes[data.label[clip]]) corrections.delete(clip);
  else corrections.set(clip, label);
  localStorage.setItem(`corrections ${key}`, JSON.stringify([...corrections]));
  $("export").hidden = !corrections.size;
  $("export").textContent = `Write a table with ${corrections.size} corrected`;
  select(clip);
}

function takeSuggestion() {
  const suggestion = errors?.get(selected);
  if (suggestion) correct(selected, data.classes[suggestion[0]]);
}

$("take").addEventListener("click", takeSuggestion);
$("correct").addEventListener("change", () => correct(selected, $("correct").value || LEFT_OUT));
$("export").addEventListener("click", () => doing("writing…", async () => {
  const written = await ask(`stores/${key}/corrections`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(Object.fromEntries(corrections)),
  });
  $("written-text").textContent = `${written.path} has ${written.clips} clips`
    + (written.left_out ? `; ${written.left_out} are left out` : "")
    + (written.missing.length ? `. These videos are not known here, so their paths are as
      annotated: ${written.missing.slice(0, 5).join(", ")}` : "")
    + ". This builds a store of it; rows are copied:";
  $("command").textContent = written.command;
  $("written").showModal();
}));

// The map

async function loadMap() {
  points = await ask(`stores/${key}/map/${$("method").value}`);
  colour();
}

function colour() {
  const by = $("colour").value;
  const names = { label: data.classes, subject: data.subjects, split: data.parts,
    outcome: ["correct", "misclassified", "not predicted"] }[by];
  const of = by === "outcome"
    ? (clip) => (predicted.has(clip) ? Number(!isRight(clip)) : 2)
    : (clip) => data[by][clip];
  // Golden angles keep neighbours in the list apart; two levels of lightness double the number.
  const light = matchMedia("(prefers-color-scheme: dark)").matches ? [70, 55] : [55, 35];
  const hues = names.map((_, i) => `hsl(${(i * 137.5) % 360} 75% ${light[i % 2]}%)`);
  colours = { names, of, hues: by === "outcome" ? [hues[0], "#d55e00", "#888"] : hues };
  const present = new Map();
  for (const clip of points.clips) present.set(of(clip), (present.get(of(clip)) || 0) + 1);
  const order = [...present].filter(([i]) => i >= 0).sort((a, b) => b[1] - a[1]);
  $("legend").replaceChildren(...order.map(([i, count]) => {
    const button = document.createElement("button");
    const ns = "http://www.w3.org/2000/svg";
    const dot = document.createElementNS(ns, "svg");
    const circle = document.createElementNS(ns, "circle");
    for (const name of ["cx", "cy", "r"]) circle.setAttribute(name, "50%");
    circle.setAttribute("fill", colours.hues[i]);
    dot.append(circle);
    button.append(dot, `${names[i]} (${count})`);
    const emphasise = (on) => () => { emphasis = on ? i : -1; drawMap(); };
    for (const event of ["mouseenter", "focus"]) button.addEventListener(event, emphasise(true));
    for (const event of ["mouseleave", "blur"]) button.addEventListener(event, emphasise(false));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  drawMap();
}

const PAD = 8;

function place(point) {
  const { clientWidth: width, clientHeight: height } = $("map");
  return [PAD + point[0] * (width - 2 * PAD), PAD + (1 - point[1]) * (height - 2 * PAD)];
}

function drawMap() {
  if (!points) return;
  const canvas = $("map");
  const context = canvas.getContext("2d");
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  points.clips.forEach((clip, i) => {
    const which = colours.of(clip);
    const on = inList[clip] && (emphasis < 0 || which === emphasis);
    context.globalAlpha = on ? 0.85 : 0.1;
    context.fillStyle = colours.hues[which] || "#888";
    const [x, y] = place(points.points[i]);
    context.fillRect(x - 2, y - 2, 4, 4);
  });
  const at = points.clips.indexOf(selected);
  if (at < 0) return;
  context.globalAlpha = 1;
  context.lineWidth = 3;
  context.strokeStyle = getComputedStyle(document.body).color;
  context.beginPath();
  context.arc(...place(points.points[at]), 7, 0, 2 * Math.PI);
  context.stroke();
}

function nearest(event) {
  if (!points) return -1;
  const box = $("map").getBoundingClientRect();
  let [best, distance] = [-1, 15 ** 2];
  points.clips.forEach((clip, i) => {
    if (!inList[clip]) return;
    const [x, y] = place(points.points[i]);
    const square = (x + box.left - event.clientX) ** 2 + (y + box.top - event.clientY) ** 2;
    if (square < distance) [best, distance] = [clip, square];
  });
  return best;
}

$("map").addEventListener("mousemove", (event) => {
  const clip = nearest(event);
  const tip = $("tip");
  tip.hidden = clip < 0;
  if (clip < 0) return;
  tip.textContent = `${data.id[clip]}: ${labelOf(clip)}, ${data.subjects[data.subject[clip]]}`;
  tip.style.left = `${Math.min(event.clientX + 12, innerWidth - 300)}px`;
  tip.style.top = `${event.clientY + 12}px`;
});
$("map").addEventListener("mouseleave", () => { $("tip").hidden = true; });
$("map").addEventListener("click", (event) => {
  const clip = nearest(event);
  if (clip < 0) return;
  select(clip);
  $("list").scrollTop = shown.indexOf(clip) * ROW - $("list").clientHeight / 2;
});

for (const id of ["label", "subject", "split", "predicted", "outcome", "order"]) {
  $(id).addEventListener("change", filter);
}
$("text").addEventListener("input", filter);
$("show").addEventListener("change", async () => { await findErrors(); filter(); });
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", () => setTimeout(() => data && filter()));
$("store").addEventListener("change", () => doing("opening the store…", openStore));
$("run").addEventListener("change", () => doing("reading predictions…", async () => {
  await openRun();
  if (points) colour();
}));
$("method").addEventListener("change", () => doing("computing the map…", loadMap));
$("colour").addEventListener("change", () => points && colour());
addEventListener("resize", () => { if (data) { drawList(); drawMap(); } });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => points && colour());
doing("opening the store…", start);
