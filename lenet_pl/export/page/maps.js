// The maps of a layer as pictures: blue is negative, orange is positive. A vector is one picture with a row of cells.

const COLUMNS = 32;   // cells of a vector next to each other
const LEVELS = 255;   // colors on either side of zero

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => {
    const letters = style.getPropertyValue(name).trim().slice(1);
    const pairs = letters.length === 3 ? [...letters].map((letter) => letter + letter) : letters.match(/../g);
    return pairs.map((pair) => parseInt(pair, 16));
  };
  const colors = { negative: color("--negative"), zero: color("--zero"), positive: color("--positive") };
  const bytes = Array.from({ length: 2 * LEVELS + 1 }, (_, k) => [...colorOf(colors, k - LEVELS, LEVELS), 255]);
  return { ...colors, palette: new Uint32Array(Uint8Array.from(bytes.flat()).buffer) };   // of pixels, from negative to positive
}

// The color of a value, with `largest` as the end of the scale.
function colorOf(colors, value, largest) {
  const share = Math.min(Math.abs(value) / largest, 1), end = value < 0 ? colors.negative : colors.positive;
  return colors.zero.map((from, k) => Math.round(from + (end[k] - from) * share));
}

// Black or white, whichever has more contrast. Source: WCAG 2.2, relative luminance.
function textColor(color) {
  const [r, g, b] = color.map((level) => level / 255).map((s) => (s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) ? "#000" : "#fff";
}

const isVector = (shape) => shape[1] === 1 && shape[2] === 1;

const largestOf = (values) => values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) || 1;

// The size of the pictures of a layer in cells: one for each map, or one for a whole vector.
function pictureSize(shape) {
  if (!isVector(shape)) return { count: shape[0], wide: shape[2], high: shape[1] };
  const wide = Math.min(shape[0], COLUMNS);
  return { count: 1, wide, high: Math.ceil(shape[0] / wide) };
}

function paintMap(canvas, { shape, values }, map, colors, largest) {
  const { wide, high } = pictureSize(shape), start = isVector(shape) ? 0 : map * wide * high;
  [canvas.width, canvas.height] = [wide, high];
  const context = canvas.getContext("2d"), image = context.createImageData(wide, high);
  const pixels = new Uint32Array(image.data.buffer), count = Math.min(wide * high, values.length - start);
  for (let k = 0; k < count; k++) pixels[k] = colors.palette[LEVELS + Math.round((LEVELS * values[start + k]) / largest)];
  context.putImageData(image, 0, 0);
}

// The section of a layer: heading, and a button for each picture that calls `choose(unit)`. Arrow keys go from map to map.
function createLayer({ name, detail, shape, choose }) {
  const size = pictureSize(shape), vector = isVector(shape);
  const maps = create("div", { className: "maps", role: "group", "aria-label": say("maps_label", { layer: name }) });
  const section = create("section", { className: "layer", "aria-label": name },
    create("h3", {}, name), create("p", { className: "quiet", text: detail }), maps);
  const buttons = Array.from({ length: size.count }, (_, map) => {
    const button = create("button", { className: vector ? "map wide" : "map", type: "button", tabindex: map ? -1 : 0 }, create("canvas"));
    if (vector) button.style.width = `${Math.min(size.wide * 1.4, 36)}rem`;
    else button.style.width = `${Math.min(Math.max(3.05, size.wide * 0.2), 7)}rem`;
    button.addEventListener("click", (event) => choose(event.detail ? unitAt(event, button, map) : null, map));
    return button;
  });
  function unitAt(event, button, map) {
    const box = button.querySelector("canvas").getBoundingClientRect();
    const cell = (from, length, count) => Math.min(count - 1, Math.max(0, Math.floor((from / length) * count)));
    const column = cell(event.clientX - box.left, box.width, size.wide), row = cell(event.clientY - box.top, box.height, size.high);
    return Math.min(shape[0] * shape[1] * shape[2] - 1, (vector ? 0 : map * size.wide * size.high) + row * size.wide + column);
  }
  maps.addEventListener("keydown", (event) => {
    const from = buttons.indexOf(document.activeElement), step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (from < 0 || !step) return;
    event.preventDefault();
    const to = buttons[(from + step + buttons.length) % buttons.length];
    buttons.forEach((button) => { button.tabIndex = button === to ? 0 : -1; });
    to.focus();
  });
  maps.append(...buttons);
  return { section, buttons, shape, name };
}

// Paint all maps with one scale, and name them for screen readers.
function paintLayer({ section, buttons, shape, name, detail }, maps, colors) {
  const largest = largestOf(maps.values), size = maps.values.length / buttons.length;
  section.querySelector("p").textContent = `${detail}. ${say("scale", { largest: number(largest) })}`;
  buttons.forEach((button, map) => {
    paintMap(button.querySelector("canvas"), maps, map, colors, largest);
    const unit = strongest(maps, map * size, size), { row, column } = placeOf(shape, unit), value = number(maps.values[unit]);
    const label = isVector(shape)
      ? say("units_label", { layer: name, units: shape[0], value, unit: unit + 1 })
      : say("map_label", { layer: name, map: map + 1, maps: shape[0], value, row: row + 1, column: column + 1 });
    button.setAttribute("aria-label", label);
  });
}

// The index of the largest value of a map.
function strongest({ values }, start, size) {
  let best = start;
  for (let k = start; k < start + size; k++) if (values[k] > values[best]) best = k;
  return best;
}

// Put a frame on a region of a picture, in cells.
function markRegion(button, shape, { top, left, rows, columns }) {
  const { wide, high } = pictureSize(shape), mark = create("span", { className: "mark" });
  const [y, x] = [Math.max(top, 0), Math.max(left, 0)];
  const [bottom, right] = [Math.min(top + rows, high), Math.min(left + columns, wide)];
  mark.style.left = `${(100 * x) / wide}%`;
  mark.style.top = `${(100 * y) / high}%`;
  mark.style.width = `${(100 * (right - x)) / wide}%`;
  mark.style.height = `${(100 * (bottom - y)) / high}%`;
  button.append(mark);
}
