"use strict";
// Tables that are sorted by a click on a heading; a cell without a figure comes last, whichever way.

{
  const ordered = (sign) => (a, b) => {
    const missing = (a === "") - (b === "");
    return missing || sign * (a - b);
  };
  DataTable.ext.type.order["figure-asc"] = ordered(1);
  DataTable.ext.type.order["figure-desc"] = ordered(-1);
}

function sortable(table, more = {}) {
  // A heading over several columns sorts by none of them.
  for (const group of table.querySelectorAll("thead .group")) group.dataset.dtOrder = "disable";
  const heads = [...table.querySelectorAll("thead th")].filter((head) => !head.matches(".group"));
  const words = (head) => [...head.childNodes].map((node) => node.textContent.trim()).filter(Boolean).join(", ");
  // DataTables hears Enter alone, but a button is pressed by the space bar too.
  table.tHead.addEventListener("keydown", (event) => {
    if (event.key !== " " || !event.target.matches(".dt-column-order")) return;
    event.preventDefault();
    event.target.click();
  });
  const directions = (head) => (head.dataset.first === "desc" ? ["desc", "asc"] : ["asc", "desc"]);
  return new DataTable(table, {
    autoWidth: false,
    info: false,
    layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
    order: [],
    paging: false,
    columns: heads.map((head) => ({
      ariaTitle: words(head),
      name: head.dataset.id || head.className,
      orderSequence: directions(head),
      type: head.matches(".figure, .numeric, .rank") ? "figure" : "string",
    })),
    ...more,
  });
}

for (const table of document.querySelectorAll("table.sortable")) sortable(table);
