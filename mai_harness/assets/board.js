"use strict";
// The ranking: what is looked for, which columns are shown and how it is sorted; all of it is kept in the address.

{
  const tools = document.getElementById("tools");
  const shown = document.getElementById("shown");
  const boards = [...document.querySelectorAll("table.board")].map((table) => sortable(table));
  const boxes = [...tools.querySelectorAll("[name=column]")];
  const listeners = [];
  let restoring = false;

  const matches = (row) =>
    (!tools.q.value || row.textContent.toLowerCase().includes(tools.q.value.trim().toLowerCase())) &&
    (!tools.kind.value || row.dataset.kind === tools.kind.value) &&
    (!tools.sound.checked || row.dataset.worst === "");

  // Columns that are switched off are searched neither: names and figures as they are seen.
  for (const board of boards) board.search.fixed("tools", (_words, _data, index) => matches(board.row(index).node()));

  const filter = () => {
    for (const board of boards) board.draw();
    const rows = boards.flatMap((board) => board.rows({ search: "applied" }).nodes().toArray());
    const all = boards.reduce((sum, board) => sum + board.rows().count(), 0);
    const words = rows.length === all ? shown.dataset.all : shown.dataset.some;
    shown.textContent = words.replace("{m}", rows.length).replace("{n}", all);
    const slugs = new Set(rows.map((row) => row.dataset.slug));
    for (const listener of listeners) listener(slugs);
  };

  const switchColumns = () => {
    for (const board of boards) {
      for (const box of boxes) {
        const column = board.column(`${box.value}:name`);
        if (column.visible() !== box.checked) column.visible(box.checked, false);
      }
      board.columns.adjust();
    }
  };

  const sortOf = (board) => {
    const [order] = board.order();
    return order && order[1] ? `${board.column(order[0]).name()}:${order[1]}` : "";
  };

  const state = () => {
    const found = new URLSearchParams();
    const off = boxes.filter((box) => box.checked !== box.defaultChecked).map((box) => box.value);
    if (tools.q.value) found.set("q", tools.q.value);
    if (tools.kind.value) found.set("kind", tools.kind.value);
    if (tools.sound.checked) found.set("sound", "1");
    if (off.length) found.set("switched", off.join(","));
    if (boards.length && sortOf(boards[0])) found.set("sort", sortOf(boards[0]));
    for (const field of document.querySelectorAll("#pareto-tools input")) {
      const changed = field.type === "radio" ? field.checked && !field.defaultChecked : field.checked !== field.defaultChecked;
      if (changed) found.set(field.name, field.type === "radio" ? field.value : Number(field.checked));
    }
    return found.toString();
  };

  const remember = () => {
    if (restoring) return;
    const words = state();
    if (words !== location.hash.slice(1)) history.replaceState(null, "", words ? `#${words}` : "#");
  };

  const choices = [...document.querySelectorAll("#pareto-tools [type=radio]")];
  const restore = () => {
    const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    const isOffered = (name) => choices.some((each) => each.name === name && each.value === given.get(name));
    restoring = true;
    const switched = (given.get("switched") || "").split(",");
    tools.q.value = given.get("q") || "";
    tools.kind.value = given.get("kind") || "";
    if (tools.kind.selectedIndex < 0) tools.kind.value = "";
    tools.sound.checked = given.get("sound") === "1";
    for (const box of boxes) box.checked = box.defaultChecked !== switched.includes(box.value);
    for (const field of document.querySelectorAll("#pareto-tools input")) {
      if (field.type === "radio") field.checked = isOffered(field.name) ? given.get(field.name) === field.value : field.defaultChecked;
      else if (field.type === "checkbox") field.checked = given.has(field.name) ? given.get(field.name) === "1" : field.defaultChecked;
    }
    const [name, direction] = (given.get("sort") || "").split(":");
    boards.forEach((board, place) => {
      const index = board.columns().names().toArray().indexOf(name);
      const isSorted = place === 0 && index >= 0 && ["asc", "desc"].includes(direction);
      board.order(isSorted ? [[index, direction]] : []);
    });
    switchColumns();
    filter();
    restoring = false;
  };

  tools.addEventListener("submit", (event) => event.preventDefault());
  tools.addEventListener("input", (event) => {
    if (event.target.name === "column") switchColumns();
    else filter();
    remember();
  });
  tools.addEventListener("reset", () => {
    history.replaceState(null, "", "#");
    restore();
  });
  for (const board of boards) board.on("order", remember);
  addEventListener("hashchange", () => location.hash.includes("=") && restore());

  // For the plot: called with the entries that are shown, now and whenever that changes.
  window.board = {
    remember,
    whenFiltered: (listener) => {
      listeners.push(listener);
      restore();
    },
  };
  tools.hidden = false;
  restore();
}
