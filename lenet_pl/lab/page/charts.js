// Line charts of all trainings that are shown.

import { draw } from "./element.js";
import { text } from "./texts.js";

const LEFT = 46, RIGHT = 474, TOP = 8, BOTTOM = 230, LINES = 5;

// series: {style, points: [[x, y], ...], color}
export function chart(id, series, { low, high, alt }) {
  const svg = document.getElementById(id);
  const ys = series.flatMap((one) => one.points.map(([, y]) => y)), xs = series.flatMap((one) => one.points.map(([x]) => x));
  svg.setAttribute("aria-label", alt);
  if (!ys.length) return svg.replaceChildren(draw("text", { x: 240, y: 120, "text-anchor": "middle" }, text("chart_empty")));
  const right = Math.max(1, ...xs), bottom = low ?? Math.min(...ys), top = high ?? Math.max(...ys, bottom + 1e-6);
  const x = (value) => LEFT + (value / right) * (RIGHT - LEFT);
  const y = (value) => BOTTOM - ((Math.min(top, Math.max(bottom, value)) - bottom) / (top - bottom)) * (BOTTOM - TOP);
  const parts = [];
  for (let k = 0; k <= LINES; k++) {
    const value = bottom + ((top - bottom) * k) / LINES, step = (right * k) / LINES;
    parts.push(draw("line", { x1: LEFT, x2: RIGHT, y1: y(value), y2: y(value), class: "grid" }));
    parts.push(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(top - bottom < 0.5 ? 3 : 2)));
    parts.push(draw("text", { x: x(step), y: BOTTOM + 20, "text-anchor": k === LINES ? "end" : "middle" }, Math.round(step).toLocaleString("en")));
  }
  for (const one of series) {
    const points = one.points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(" ");
    parts.push(draw("polyline", { points, class: `line ${one.style} color${one.color}` }));
    if (one.points.length === 1) parts.push(draw("circle", { cx: x(one.points[0][0]), cy: y(one.points[0][1]), r: 3, class: `dot color${one.color}` }));
  }
  return svg.replaceChildren(...parts);
}
