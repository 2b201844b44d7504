// Pictures are cut out of sheets: image n of a sheet lies in row n / columns, column n % columns.
if (byId("pictures")) (function pictures() {
  const found = JSON.parse(byId("pictures").textContent), {subjects, cells, captions} = found;
  const opened = new Map();
  const methods = data.methods.filter((method) => Object.keys(cells).some((cell) => cell.startsWith(`${method.name}/`)));

  function sheet(number) {
    if (!opened.has(number)) {
      const image = new Image();
      image.src = `data:image/webp;base64,${found.sheets[number]}`;
      opened.set(number, image.decode().then(() => image));
    }
    return opened.get(number);
  }

  function cut(sheetNumber, place, columns, side, label) {
    const canvas = element("canvas", {width: side, height: side, ...(label ? {role: "img", "aria-label": label} : {"aria-hidden": "true"})});
    sheet(sheetNumber).then((image) => {
      const left = (place % columns) * side, top = Math.floor(place / columns) * side;
      canvas.getContext("2d").drawImage(image, left, top, side, side, 0, 0, side, side);
      canvas.dataset.drawn = "";
    });
    return canvas;
  }

  const tile = (subject, sheetNumber, place, label) => cut(sheetNumber, place, subjects[subject].columns, found.side, label);
  const cellOf = (method, subject, budget) => cells[`${method}/${subject}/${budget}`];
  const shownScore = (score) => (score == null ? "—" : found.share ? `${(score / 10).toFixed(1)} %` : score.toFixed(3));
  const describe = (id) => (captions[id] ? `image ${id}, ${captions[id].replace(/\.$/, "")}` : `image ${id}`);

  function grid() {
    const subject = chosen("grid-subject"), budget = chosen("grid-budget"), {grid: picked, gridSheet} = subjects[subject];
    const all = chosen("grid-methods") !== "drawn";
    const shown = methods.filter((method) => (all || method.drawn) && cellOf(method.name, subject, budget));
    const title = data.budgets.find(([label]) => label === budget)[1];
    const head = element("tr", {}, element("td", {}), element("th", {scope: "col"}, "Stimulus"),
      ...shown.map((method) => element("th", {scope: "col"}, method.title)));
    const tile = (sheetNumber, place, label) => cut(sheetNumber, place, found.gridColumns, found.gridSide, label);
    const rows = picked.map(({rank, id, score}, place) => {
      const head = element("th", {scope: "row"}, rank, element("small", {}, score), element("small", {}, `image ${id}`));
      return element("tr", {}, head, element("td", {class: "stimulus"}, tile(gridSheet, place, `Stimulus, ${describe(id)}`)),
        ...shown.map((method) => element("td", {}, tile(cellOf(method.name, subject, budget).gridSheet, place, `${method.title}: reconstruction of image ${id}`))));
    });
    byId("grid").replaceChildren(element("caption", {class: "hidden"}, `Reconstructions of ${subject} by rank, trained on ${title}`),
      element("thead", {}, head), element("tbody", {}, ...rows));
  }

  let order = [], current = 0;
  function browser() {
    const subject = chosen("browser-subject"), budget = chosen("browser-budget");
    const options = [...byId("browser-method").options];
    for (const option of options) option.disabled = !cellOf(option.value, subject, budget);
    if (byId("browser-method").selectedOptions[0].disabled) byId("browser-method").value = options.find((option) => !option.disabled).value;
    const method = byId("browser-method").value, cell = cellOf(method, subject, budget), how = byId("browser-order").value;
    const places = subjects[subject].ids.map((_, place) => place);
    order = how === "id" ? places : ordered(places, (place) => cell.scores[place], (how === "best") !== found.lowerIsBetter);
    byId("browser-status").textContent = `${order.length} images of ${subject}; below each its number${found.scoreTitle ? ` and ${found.scoreTitle}` : ""}.`;
    byId("tiles").replaceChildren(...order.map((place, number) => {
      const id = subjects[subject].ids[place], score = shownScore(cell.scores[place]);
      return element("li", {}, element("button", {type: "button", onclick: () => { current = number; compare(); }},
        element("span", {class: "pair"}, tile(subject, subjects[subject].sheet, place, describe(id)), tile(subject, cell.sheet, place)),
        element("span", {class: "under"}, element("span", {}, String(id)), " ", element("span", {}, score))));
    }));
  }

  function compare() {
    const subject = chosen("browser-subject"), budget = chosen("browser-budget"), place = order[current], id = subjects[subject].ids[place];
    byId("image-title").textContent = `Image ${id}, ${subject}`;
    byId("image-caption").textContent = captions[id] ? `“${captions[id]}”` : "";
    const figures = methods.filter((method) => cellOf(method.name, subject, budget)).map((method) => {
      const cell = cellOf(method.name, subject, budget), caption = cell.captions?.[place];
      return element("figure", {}, tile(subject, cell.sheet, place, `${method.title}: reconstruction of image ${id}`),
        element("figcaption", {}, element("b", {}, method.title), element("span", {}, shownScore(cell.scores[place])), caption && element("q", {}, caption)));
    });
    byId("image-methods").replaceChildren(element("figure", {class: "stimulus"}, tile(subject, subjects[subject].sheet, place, `Stimulus, ${describe(id)}`),
      element("figcaption", {}, element("b", {}, "Stimulus"))), ...figures);
    byId("image-previous").disabled = current === 0;
    byId("image-next").disabled = current === order.length - 1;
    if (!byId("image").open) byId("image").showModal();
  }

  const step = (by) => { const next = current + by; if (next >= 0 && next < order.length) { current = next; compare(); } };
  byId("image-previous").addEventListener("click", () => step(-1));
  byId("image-next").addEventListener("click", () => step(1));
  byId("image-close").addEventListener("click", () => byId("image").close());
  byId("image").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  byId("image").addEventListener("click", (event) => { if (event.target === byId("image")) byId("image").close(); });
  byId("image").addEventListener("close", () => byId("tiles").children[current]?.firstChild.focus());
  for (const [form, redraw] of [["grid-controls", grid], ["browser-controls", browser]]) {
    byId(form).addEventListener("change", redraw);
    byId(form).addEventListener("submit", (event) => event.preventDefault());
  }
  grid();
  browser();
})();
