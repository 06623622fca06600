"use strict";

// Tables: a button in each head sorts up, then down, then as it was. Rows without a number stay last.
const said = document.getElementById("said");
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.querySelectorAll("th[data-column]")];
  const key = (row, column, numeric) => {
    const cell = row.cells[column];
    return numeric ? (cell.dataset.value === undefined ? null : Number(cell.dataset.value)) : cell.textContent.trim();
  };
  const sort = (head) => {
    const next = {none: "ascending", ascending: "descending", descending: "none"}[head.getAttribute("aria-sort")];
    const column = Number(head.dataset.column), numeric = head.classList.contains("number"), turn = next === "descending" ? -1 : 1;
    const order = (a, b) => {
      const [x, y] = [key(a, column, numeric), key(b, column, numeric)];
      if (x === null || y === null) return (x === null) - (y === null);
      return turn * (numeric ? x - y : x.localeCompare(y, "en", {numeric: true}));
    };
    heads.forEach((other) => other.setAttribute("aria-sort", other === head ? next : "none"));
    body.append(...(next === "none" ? rows : [...rows].sort(order)));
    table.classList.toggle("sorted", next !== "none");
    said.textContent = next === "none" ? "In the order of the report." : `Sorted by ${head.textContent}, ${next}.`;
  };
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
    head.setAttribute("aria-sort", "none");
  }
}

// Loops: all stop and go together. A loop that stands shows its still, which is also what a reader who wants less motion gets.
const stills = document.querySelectorAll("picture.loop source"), pauses = document.querySelectorAll("button.pause");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let moving = !calm.matches;
const play = () => {
  stills.forEach((still) => { still.media = moving ? "not all" : "all"; });
  pauses.forEach((button) => { button.textContent = moving ? "Pause the loops" : "Play the loops"; button.hidden = false; });
};
pauses.forEach((button) => button.addEventListener("click", () => { moving = !moving; play(); }));
calm.addEventListener("change", () => { moving = !calm.matches; play(); });
play();

// What a link leads to is unfolded, and so is everything that is printed.
const unfold = () => {
  const target = document.querySelector(":target");
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
unfold();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
