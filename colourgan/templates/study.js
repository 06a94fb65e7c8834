"use strict";
// A configuration is a tbody: the row of its matched saturation stays with it.
const table = document.getElementById("configurations");
const bodies = () => [...table.tBodies];

const key = (body, column) => {
  const cell = body.rows[0].cells[column];
  const number = cell.dataset.number;
  if (number === undefined) return cell.textContent.trim();
  return number === "" ? NaN : Number(number);
};

const compare = (a, b) => {
  if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, undefined, { numeric: true });
  return a - b;
};

const missing = (value) => Number.isNaN(value);

const sort = (heading) => {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  const sign = ascending ? 1 : -1;
  const order = (a, b) => {
    const [one, other] = [key(a, heading.cellIndex), key(b, heading.cellIndex)];
    // What is missing stays at the end in both directions.
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    return sign * compare(one, other);
  };
  for (const each of table.tHead.rows[0].cells) each.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  table.append(...bodies().sort(order));
};

for (const button of table.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}

const filter = document.getElementById("place");
filter.addEventListener("change", () => {
  for (const body of bodies()) body.hidden = filter.value !== "" && body.dataset.place !== filter.value;
});
// A browser that comes back to the page keeps what was chosen in it.
filter.dispatchEvent(new Event("change"));
