// A minute of one number, drawn as a line over its own shade. Gaps are gaps: nothing is drawn where nothing was known.

const KEPT = 60;
const WIDTH = 100, HEIGHT = 24;

export class Series {
  constructor() { this.values = []; }
  push(value) {
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
  }
}

// Runs of known values as [[x, y], …]; the newest value stands at the right edge, `top` (or the largest) at the top.
export function runs(values, top) {
  const most = Math.max(top || 0, ...values.filter((v) => v !== null), 1e-9);
  const found = [];
  let run = null;
  values.forEach((value, index) => {
    if (value === null) { run = null; return; }
    if (!run) found.push(run = []);
    const x = WIDTH - (values.length - 1 - index) * WIDTH / (KEPT - 1);
    run.push([x, HEIGHT - 1 - (HEIGHT - 3) * value / most]);
  });
  return found;
}

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

export function draw(svg, series, label, top) {
  if (!svg.firstChild) {
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    for (const name of ["fill", "stroke"]) {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      line.setAttribute("class", name);
      svg.append(line);
    }
  }
  svg.setAttribute("aria-label", label);
  const found = runs(series.values, top).map((run) => run.length > 1 ? run : [[run[0][0] - 1, run[0][1]], run[0]]);
  svg.children[1].setAttribute("d", found.map(path).join(""));
  svg.children[0].setAttribute("d", found.map((run) => `${path(run)}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}L${run[0][0].toFixed(1)} ${HEIGHT}Z`).join(""));
}
