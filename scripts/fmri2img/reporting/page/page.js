// What all parts of the page share: building elements, the theme, tables that sort, charts whose methods are switched.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;

// element("td", {class: "number"}, "text", node, ...): text is always text, so no title can smuggle in markup.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null && child !== ""));
  return made;
}

function drawing(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function swatch(method) {
  return drawing("svg", {class: "swatch", viewBox: "-13 -6 26 12", "aria-hidden": "true", style: `color: ${method.colour}`},
    drawing("path", {class: "line", d: "M-13,0H13", "stroke-dasharray": method.dashes}),
    drawing("path", {class: "mark", d: method.outline}));
}

// Missing values come last in both directions; equal ones keep their order.
function ordered(rows, key, descending) {
  const sign = descending ? -1 : 1;
  return rows.map((row, place) => [key(row), place, row]).sort(([a, i], [b, j]) => {
    if (a == null || b == null) return (a == null) - (b == null) || i - j;
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b) || i - j;
  }).map(([, , row]) => row);
}

function sortButton(label, direction, onclick) {
  const arrow = direction === "ascending" ? "▲" : direction === "descending" ? "▼" : "";
  const [title, ...details] = label;
  return element("button", {type: "button", class: "sort", onclick},
    element("span", {class: "heading"}, title, element("span", {class: "direction", "aria-hidden": "true"}, arrow || "↕")), ...details);
}

(function theme() {
  const button = byId("theme"), root = document.documentElement, names = ["auto", "light", "dark"];
  // Some browsers keep no storage for files opened from the disk.
  const stored = () => { try { return localStorage.getItem("fmri2img-theme"); } catch { return null; } };
  const keep = (name) => { try { localStorage.setItem("fmri2img-theme", name); } catch { /* shown, not kept */ } };
  let current = names.includes(stored()) ? stored() : "auto";
  const show = () => {
    if (current === "auto") delete root.dataset.theme; else root.dataset.theme = current;
    button.textContent = {auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark"}[current];
  };
  button.addEventListener("click", () => {
    current = names[(names.indexOf(current) + 1) % names.length];
    keep(current);
    show();
  });
  button.hidden = false;
  show();
})();

for (const legend of document.querySelectorAll(".legend")) {
  legend.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const shown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", shown);
    for (const line of legend.parentElement.querySelectorAll(`[data-method="${CSS.escape(button.dataset.toggle)}"]`)) {
      line.style.display = shown ? "" : "none";
    }
  });
  for (const button of legend.querySelectorAll("button")) {
    const mark = (on) => {
      for (const line of legend.parentElement.querySelectorAll("g[data-method]")) {
        line.classList.toggle("faint", on && line.dataset.method !== button.dataset.toggle);
      }
    };
    for (const name of ["mouseenter", "focus"]) button.addEventListener(name, () => mark(true));
    for (const name of ["mouseleave", "blur"]) button.addEventListener(name, () => mark(false));
  }
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  heads.forEach((head, place) => {
    const numeric = head.classList.contains("number");
    const key = (row) => {
      const text = numeric ? row.cells[place].dataset.sort : row.cells[place].textContent;
      return numeric ? (text === "" ? null : Number(text)) : text;
    };
    const label = [...head.childNodes];
    const draw = (direction) => {
      head.setAttribute("aria-sort", direction);
      head.replaceChildren(sortButton(label, direction, sort));
    };
    function sort() {
      const descending = head.getAttribute("aria-sort") === "none" ? numeric : head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) if (other !== head) other.dispatchEvent(new Event("unsort"));
      draw(descending ? "descending" : "ascending");
      body.append(...ordered(rows, key, descending));
      head.querySelector("button").focus();
    }
    head.addEventListener("unsort", () => draw("none"));
    draw("none");
  });
}
