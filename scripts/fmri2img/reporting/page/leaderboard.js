// The leaderboard: every metric side by side, or one with its ranks and tests; sorted by any column. Methods stand in
// families: the first of each is shown, the others are folded under it. Controls are apart from what is ranked.
(function leaderboard() {
  const table = byId("board"), {methods, metrics, cells, gaps, budgets} = data;
  const state = {key: null, descending: true, open: new Set(), unfolded: new Set()};
  const families = Map.groupBy ? Map.groupBy(methods, (m) => m.family) : methods.reduce(
    (found, m) => found.set(m.family, [...(found.get(m.family) ?? []), m]), new Map());
  const cellOf = (method, metric) => cells[chosen("board-budget")][metric]?.[method.name] ?? null;
  const gap = (why = "") => element("span", {class: "gap", title: why}, "—", why && element("span", {class: "hidden"}, ` (${why})`));
  const whyGap = (method, metric) => gaps[chosen("board-budget")][metric]?.[method.name] ?? "";
  const scoreOf = (method, metric) => cellOf(method, metric)?.[chosen("board-scale")] ?? null;

  // Methods that the filter leaves, and whether it asks for anything.
  function filtered() {
    const text = byId("board-text").value.trim().toLowerCase(), kind = byId("board-kind").value;
    const about = (m) => [m.title, m.familyTitle, m.name, m.of, m.sentence].join(" ").toLowerCase();
    const words = text.split(/\s+/).filter(Boolean);
    const left = methods.filter((m) => (!kind || m.kind === kind) && words.every((word) => about(m).includes(word)));
    return {left: new Set(left), any: Boolean(text || kind)};
  }

  function fold(method, members, unfolded) {
    const others = members.length - 1;
    return element("button", {type: "button", class: "fold", "aria-expanded": String(unfolded), "data-family": method.family,
      onclick: () => {
        if (unfolded) state.unfolded.delete(method.family); else state.unfolded.add(method.family);
        draw(`.fold[data-family="${CSS.escape(method.family)}"]`);
      }}, element("span", {"aria-hidden": "true"}, unfolded ? "▾" : "▸"), unfolded ? ` hide ${others}` : ` ${others} more`,
      element("span", {class: "hidden"}, ` of ${method.familyTitle}`));
  }

  function name(method, folded) {
    const open = state.open.has(method.name);
    const button = element("button", {type: "button", class: "method", "aria-expanded": String(open), "aria-controls": `facts-${method.name}`,
      onclick: () => {
        if (open) state.open.delete(method.name); else state.open.add(method.name);
        draw(`[aria-controls="facts-${CSS.escape(method.name)}"]`);
      }}, swatch(method), element("span", {}, method.title));
    // On a phone this line stands for the column of kinds.
    return element("th", {scope: "row", class: "name"}, button, element("small", {class: "kind-line"}, method.of ? `${method.kind} of ${method.of}` : method.kind), folded);
  }

  function kind(method) {
    return element("td", {}, element("span", {class: `kind ${method.kind}`}, method.kind), method.of && element("small", {}, `of ${method.of}`));
  }

  function score(method, metric) {
    const cell = cellOf(method, metric), shown = scoreOf(method, metric);
    if (!shown) return element("td", {class: "number"}, gap(cell ? "no floor or ceiling to normalise by" : whyGap(method, metric)));
    return element("td", {class: cell.rank === 1 ? "number first" : "number"},
      element("span", {class: "value"}, shown.text, element("span", {class: "group"}, cell.group)),
      element("small", {}, shown.interval));
  }

  // Interval, mean and chance level on a scale that all rows share.
  function range(method, metric, ends) {
    const shown = scoreOf(method, metric.name);
    if (!shown) return element("td", {});
    const at = (value) => (6 + 188 * (value - ends[0]) / (ends[1] - ends[0] || 1)).toFixed(1);
    const svg = drawing("svg", {class: "range", viewBox: "0 0 200 20", "aria-hidden": "true", style: `color: ${method.colour}`});
    if (metric.chance != null && chosen("board-scale") === "raw") {
      svg.append(drawing("line", {class: "chance", x1: at(metric.chance), x2: at(metric.chance), y1: 0, y2: 20}));
    }
    // A metric of the whole set has no interval.
    if (shown.low != null) svg.append(drawing("line", {class: "line", x1: at(shown.low), x2: at(shown.high), y1: 10, y2: 10}));
    svg.append(drawing("path", {class: "mark", transform: `translate(${at(shown.value)} 10)`, d: method.outline}));
    return element("td", {class: "ranges"}, svg);
  }

  const plain = (metric, part, text) => (method) => {
    const cell = cellOf(method, metric);
    return element("td", {class: "number"}, cell && cell[text] !== "" && cell[part] != null ? cell[text] : part === "rank" || part === "p" ? "" : gap());
  };

  // A column: its heading, what it sorts by, which direction comes first, and its cells.
  function columns() {
    const head = [
      {key: "method", label: ["Method"], text: true, sort: (m) => m.title, cell: name},
      {key: "kind", label: ["Kind"], text: true, sort: (m) => m.kind, cell: kind},
    ];
    const one = metrics.find((metric) => metric.name === byId("board-metric").value);
    const better = (metric) => chosen("board-scale") === "normalised" || metric.higher;
    if (!one) {
      return [...head, ...metrics.map((metric) => ({
        key: metric.name, label: heading(metric), high: better(metric), sort: (m) => scoreOf(m, metric.name)?.value, cell: (m) => score(m, metric.name),
      }))];
    }
    const of = (part) => (m) => cellOf(m, one.name)?.[part];
    const shown = methods.map((m) => scoreOf(m, one.name)).filter(Boolean);
    const all = shown.flatMap((s) => [s.low ?? s.value, s.high ?? s.value]);
    if (one.chance != null && chosen("board-scale") === "raw") all.push(one.chance);
    const ends = [Math.min(...all), Math.max(...all)];
    const other = chosen("board-scale") === "raw" ? "normalised" : "raw";
    return [
      {key: "rank", label: ["Rank"], high: false, sort: of("rank"), cell: (m) => element("td", {class: "number"}, String(cellOf(m, one.name)?.rank ?? ""))},
      ...head,
      {key: one.name, label: heading(one), high: better(one), sort: (m) => scoreOf(m, one.name)?.value, cell: (m) => score(m, one.name)},
      {key: "low", label: ["Interval"], plain: true, high: true, sort: (m) => scoreOf(m, one.name)?.low, cell: (m) => range(m, one, ends)},
      {key: "p", label: ["p", element("small", {}, "against the first")], high: false, sort: of("p"), cell: plain(one.name, "p", "pText")},
      {key: "other", label: [other === "raw" ? "Raw" : "Normalised"], high: other === "normalised" || one.higher, sort: (m) => of(other)(m)?.value,
        cell: (m) => element("td", {class: "number"}, of(other)(m)?.text ?? gap(), element("small", {}, of(other)(m)?.interval ?? ""))},
      {key: "seedSd", label: ["Seed SD"], high: false, sort: of("seedSd"), cell: plain(one.name, "seedSd", "seedSdText")},
    ];
  }

  function heading(metric) {
    const normalised = chosen("board-scale") === "normalised";
    const details = [normalised ? metric.network : metric.detail, !normalised && metric.chanceText ? `chance ${metric.chanceText}` : ""].filter(Boolean);
    return [`${metric.title} ${normalised ? "↑" : metric.arrow}`, ...details.map((detail) => element("small", {}, detail))];
  }

  function facts(method, width) {
    const list = method.facts.map(([title, text]) => element("div", {}, element("dt", {}, title), element("dd", {}, text)));
    return element("tr", {id: `facts-${method.name}`, class: "facts-row", hidden: !state.open.has(method.name)},
      element("td", {colspan: width}, element("dl", {class: "pairs"}, ...list)));
  }

  function draw(focus) {
    const shown = columns();
    let by = shown.find((column) => column.key === state.key);
    if (!by) {
      const first = byId("board-metric").value || data.sortBy;
      by = shown.find((column) => column.key === first);
      state.key = by.key;
      state.descending = by.high;
    }
    const heads = shown.map((column) => {
      const direction = column !== by ? "none" : state.descending ? "descending" : "ascending";
      return element("th", {scope: "col", class: column.text ? (column.key === "method" ? "name" : "kinds") : column.plain ? "" : column.key === "rank" ? "number rank" : "number", "aria-sort": direction},
        sortButton(column.label, direction, () => {
          state.descending = column === by ? !state.descending : Boolean(column.high);
          state.key = column.key;
          draw(`thead th:nth-child(${shown.indexOf(column) + 1}) button`);
        }));
    });
    const letters = Object.values(cells[chosen("board-budget")]).flatMap(Object.values).map((cell) => cell.group.length);
    table.style.setProperty("--letters", Math.max(1, ...letters));
    const budget = budgets.find(([label]) => label === chosen("board-budget"))[1];
    const {left, any} = filtered();
    // A family's row is its first method's; the filter shows what it finds, folded or not.
    const groups = [...families.values()].map((members) => {
      const unfolded = any || state.unfolded.has(members[0].family);
      const rows = members.filter((method) => left.has(method) && (unfolded || method === members[0]));
      return {members, unfolded, rows: rows[0] === members[0] ? [rows[0], ...ordered(rows.slice(1), by.sort, state.descending)] : ordered(rows, by.sort, state.descending)};
    }).filter(({rows}) => rows.length);
    let count = 0;
    const body = (controls) => {
      const chosenGroups = groups.filter(({rows}) => (rows[0].kind === "control") === controls);
      const rows = ordered(chosenGroups, (group) => by.sort(group.rows[0]), state.descending).flatMap(({members, unfolded, rows}) => rows.flatMap((method) => {
        const foldable = !any && method === members[0] && members.length > 1;
        count += 1;
        return [row(method, shown, foldable ? fold(method, members, unfolded) : null, method !== rows[0]), facts(method, shown.length)];
      }));
      if (!rows.length) return null;
      const heading = !controls ? null : element("tr", {class: "apart"}, element("th", {scope: "rowgroup", colspan: shown.length}, element("span", {}, "Controls"), element("small", {}, "not ranked: floors, ceilings and simple guesses")));
      return element("tbody", {}, heading, ...rows);
    };
    const bodies = [body(false), body(true)].filter(Boolean);
    table.replaceChildren(element("caption", {class: "hidden"}, `Leaderboard, trained on ${budget}`),
      element("thead", {}, element("tr", {}, ...heads)), ...bodies);
    if (focus) table.querySelector(focus)?.focus();
    const title = by.label.map((part) => part.textContent ?? part).join(", ");
    const folding = [...families.values()].some((members) => members.length > 1);
    byId("board-unfold").hidden = !folding || any;
    byId("board-unfold").setAttribute("aria-pressed", String([...families].every(([family, members]) => members.length === 1 || state.unfolded.has(family))));
    byId("board-status").textContent = `${count} of ${methods.length} methods. Trained on ${budget}; sorted by ${title}, ${state.descending ? "descending" : "ascending"}.`;
  }

  // A method that is not trained at this budget has one cell that says so.
  function row(method, shown, folded, member) {
    const attributes = {class: `${method.kind}${member ? " member" : ""}`};
    const reasons = new Set(metrics.map((metric) => whyGap(method, metric.name)).filter((why) => !why.startsWith("makes no")));
    const [why] = reasons;
    const cellsOf = shown.map((column) => (column.key === "method" ? name(method, folded) : column.cell(method)));
    const first = shown.findIndex((column) => !["rank", "method", "kind"].includes(column.key));
    if (reasons.size === 1 && why) {
      return element("tr", attributes, ...cellsOf.slice(0, first), element("td", {class: "reason", colspan: shown.length - first}, element("span", {}, `— ${why}`)));
    }
    return element("tr", attributes, ...cellsOf);
  }

  // A phone's screen is wide enough for one metric at a time.
  if (matchMedia("(max-width: 640px)").matches) byId("board-metric").value = data.sortBy;
  byId("board-controls").addEventListener("change", (event) => {
    if (event.target.id === "board-metric" || event.target.name === "board-scale") state.key = null;
    if (event.target.id !== "board-text" && event.target.id !== "board-kind") draw();
  });
  for (const input of ["board-text", "board-kind"]) byId(input).addEventListener("input", () => draw());
  byId("board-unfold").addEventListener("click", () => {
    const all = byId("board-unfold").getAttribute("aria-pressed") === "true";
    for (const family of families.keys()) if (all) state.unfolded.delete(family); else state.unfolded.add(family);
    draw();
  });
  byId("board-controls").addEventListener("submit", (event) => event.preventDefault());
  draw();
})();
