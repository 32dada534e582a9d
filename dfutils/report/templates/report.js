"use strict";
// Sort a table by clicking a heading or pressing Enter on it; without scripts the order is fixed.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const isRising = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isRising ? "ascending" : "descending");
      const isNumber = heading.dataset.kind === "number";
      const key = (row) => row.cells[column].dataset.sort;
      const rows = [...body.rows].sort((one, two) => {
        const [a, b] = [key(one), key(two)];
        if (a === "" || b === "") return (a === "") - (b === "");  // rows without a value stay last
        const order = isNumber ? a - b : a.localeCompare(b, undefined, { numeric: true });
        return isRising ? order : -order;
      });
      body.append(...rows);
    });
  });
}
