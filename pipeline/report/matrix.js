// The confusion matrix: orders, keys, and the clips behind its cells.
const clips = JSON.parse(document.getElementById("clips-of-cells").textContent);
const matrix = document.getElementById("matrix");
const names = [...matrix.tHead.rows[0].cells];
const body = matrix.tBodies[0];
const rows = [...body.rows]; // in the order of the class list
const columnsOf = new Map([matrix.tHead.rows[0], ...rows].map((row) => [row, [...row.cells]]));
const supports = rows.map((row) => Number(row.dataset.clips));
const errors = rows.map((row, i) => {
  const hits = row.cells[i + 1].querySelector("button");
  return supports[i] - (hits ? Number(hits.textContent) : 0);
});

rows.forEach((row, i) => columnsOf.get(row).forEach((cell, j) => {
  const button = cell.querySelector("button");
  if (!button) return;
  const taken = i === j - 1 ? "recognised" : `taken for ${names[j].textContent}`;
  const text = `${row.cells[0].textContent}: ${button.textContent} of ${supports[i]} clips ${taken}`;
  button.title = text;
  button.setAttribute("aria-label", text);
  button.tabIndex = -1;
  button.addEventListener("click", () => show(text, `${row.dataset.class},${rows[j - 1].dataset.class}`));
  for (const [event, on] of [["mouseenter", true], ["focus", true], ["mouseleave", false],
    ["blur", false]]) {
    button.addEventListener(event, () => {
      names[j].classList.toggle("on", on);
      row.cells[0].classList.toggle("on", on);
    });
  }
}));

const films = new Map([...document.querySelectorAll(".strip")]
  .map((strip) => [strip.dataset.clip, strip.querySelector(".film")]));

function show(text, cell) {
  const dialog = document.getElementById("clips");
  dialog.querySelector("h3").textContent = text;
  const listed = clips[cell] || [];
  dialog.querySelector("ol").replaceChildren(...listed.map(([clip, subject, sure]) => {
    const item = document.createElement("li");
    item.textContent = `${clip} – ${sure}${subject ? `, subject ${subject}` : ""}`;
    if (films.has(clip)) item.append(films.get(clip).cloneNode(true));
    return item;
  }));
  dialog.querySelector("p").textContent = listed.length
    ? "The most confident clips first; predictions.csv has all." : "See predictions.csv.";
  dialog.showModal();
}

document.getElementById("order").addEventListener("change", (event) => {
  const key = {
    list: (i) => i,
    errors: (i) => -errors[i],
    recall: (i) => (supports[i] ? -errors[i] / supports[i] : 1),
  }[event.target.value];
  const order = rows.map((_, i) => i).sort((one, two) => key(one) - key(two) || one - two);
  body.append(...order.map((i) => rows[i]));
  for (const [row, cells] of columnsOf) row.append(cells[0], ...order.map((i) => cells[i + 1]));
  enter();
});

// One cell of the matrix takes part in the order of the tab key; arrows move to the next one.
function enter() {
  for (const button of body.querySelectorAll("button")) button.tabIndex = -1;
  const first = body.querySelector("button");
  if (first) first.tabIndex = 0;
}

body.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  const cell = event.target.closest("td");
  if (!step || !cell) return;
  event.preventDefault();
  let [i, j] = [cell.parentNode.sectionRowIndex, cell.cellIndex];
  for (;;) {
    i += step[0];
    j += step[1];
    const next = body.rows[i]?.cells[j];
    if (!next) return;
    const button = next.querySelector("button");
    if (button) {
      event.target.tabIndex = -1;
      button.tabIndex = 0;
      button.focus();
      return;
    }
  }
});
enter();
