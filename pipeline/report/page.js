"use strict";

// A heading sorts by its column: names upwards, numbers downwards, and in reverse the next time.
for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const texts = new Map([...body.rows].map((row) => [row, row.cells[column].textContent]));
    const numbers = [...texts.values()].every((text) => /^(–|[+-]?[\d.]+(e[+-]?\d+)?( %)?( ± [\d.]+)?)$/.test(text));
    const first = numbers ? "descending" : "ascending";
    const second = numbers ? "ascending" : "descending";
    const turn = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", turn);
    const sign = turn === "ascending" ? 1 : -1;
    const dash = (row) => texts.get(row) === "–"; // no value: always last
    body.append(...[...body.rows].sort((one, two) => {
      if (numbers && (dash(one) || dash(two))) return dash(one) - dash(two);
      const by = numbers
        ? parseFloat(texts.get(one)) - parseFloat(texts.get(two))
        : texts.get(one).localeCompare(texts.get(two));
      return sign * by;
    }));
  }));
}
