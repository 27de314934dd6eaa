// Strokes of found ink: their soft edges, their width, and their place in the square.

// Scale the ink with its soft edges so that its strongest 10% become 1, and set everything else to 0.
function extractForeground(gray, mask) {
  const box = boundingBox(mask, 0.5), reach = Math.max(2, 0.07 * Math.max(box.right - box.left, box.bottom - box.top));
  const far = distances2(mask).map((square) => (square > reach * reach ? 1 : 0));
  const rest = gray.values.filter((_, k) => far[k]);
  const floor = Math.min(rest.length ? noiseLevel(rest, 3) : 0, MIN_CONTRAST);
  const full = quantile(gray.values.filter((_, k) => mask.values[k]), 0.9);
  const room = Math.max(full - floor, 1e-3);
  return clip({ ...gray, values: gray.values.map((level, k) => (far[k] ? 0 : (level - floor) / room)) });
}

// The squared distance of each pixel to the nearest one of a mask. Source: Felzenszwalb and Huttenlocher 2012.
function distances2({ width, height, values }) {
  const far = 1e12;
  const rows = ({ width, height, values }) => {
    const result = new Float64Array(values.length);
    for (let y = 0; y < height; y++) result.set(lowerEnvelope(values.subarray(y * width, (y + 1) * width)), y * width);
    return { width, height, values: result };
  };
  const start = { width, height, values: Float64Array.from(values, (inside) => (inside ? 0 : far)) };
  return transpose(rows(transpose(rows(start)))).values;
}

// The lower envelope of parabolas with these heights, at each place of a line.
function lowerEnvelope(heights) {
  const count = heights.length, places = new Int32Array(count), starts = new Float64Array(count + 1);
  const meet = (a, b) => (heights[a] + a * a - heights[b] - b * b) / (2 * (a - b));
  let last = 0;
  [starts[0], starts[1]] = [-Infinity, Infinity];
  for (let k = 1; k < count; k++) {
    let from = meet(k, places[last]);
    while (from <= starts[last]) from = meet(k, places[--last]);
    places[++last] = k;
    [starts[last], starts[last + 1]] = [from, Infinity];
  }
  const result = new Float64Array(count);
  for (let k = 0, at = 0; k < count; k++) {
    while (starts[at + 1] < k) at++;
    result[k] = (k - places[at]) ** 2 + heights[places[at]];
  }
  return result;
}

// Make strokes that are thinner than `wanted` px on average thicker.
function dilateStrokes(ink, wanted) {
  const core = ink.values.map((level) => (level > 0.5 ? 1 : 0)), inside = core.reduce((a, b) => a + b, 0);
  if (!inside) return ink;
  const outside = paste({ ...ink, values: core }, ink.width + 2, ink.height + 2, 1, 1);
  outside.values = outside.values.map((level) => 1 - level);
  const depth = distances2(outside).reduce((sum, square) => sum + Math.sqrt(square), 0) / inside;
  const radius = (wanted - Math.max(4 * (depth - 0.5), 1)) / 2;   // a bar of width w has a mean depth of w/4 + 1/2
  if (radius < 0.5) return ink;
  const reach = Math.ceil(radius), { width, height } = ink;
  const padded = paste(ink, width + 2 * reach, height + 2 * reach, reach, reach), result = padded.values.slice();
  for (let i = -reach; i <= reach; i++)
    for (let j = -reach; j <= reach; j++) {
      if (i * i + j * j > radius * radius) continue;
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const to = (y + reach + i) * padded.width + x + reach + j, level = ink.values[y * width + x];
          if (level > result[to]) result[to] = level;
        }
    }
  return { ...padded, values: result };
}

// The box around all levels above a limit; null if there are none.
function boundingBox({ width, values }, limit) {
  const box = { left: Infinity, top: Infinity, right: 0, bottom: 0 };
  values.forEach((level, k) => {
    if (level <= limit) return;
    const x = k % width, y = Math.floor(k / width);
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x + 1);
    box.top = Math.min(box.top, y);
    box.bottom = Math.max(box.bottom, y + 1);
  });
  return box.right ? box : null;
}

// Scale to a longer side of `box` px, and center on a black square: the center of mass, or the middle of the image.
function fitInto(ink, side, box, byMass) {
  const longer = Math.max(ink.width, ink.height);
  if (!byMass) {
    const room = Math.max(longer, roundHalfEven((longer * side) / box));
    const square = paste(ink, room, room, Math.floor((room - ink.width) / 2), Math.floor((room - ink.height) / 2));
    return clip(resize(square, side, side));
  }
  const [width, height] = [ink.width, ink.height].map((length) => Math.max(1, roundHalfEven((length * box) / longer)));
  const small = clip(resize(ink, width, height)), mass = small.values.reduce((a, b) => a + b, 0);
  const center = (of) => small.values.reduce((sum, level, k) => sum + level * of(k), 0) / mass;
  const start = (middle, length) => Math.min(Math.max(roundHalfEven(side / 2 - middle), 0), side - length);
  const left = start(center((k) => k % width), width), top = start(center((k) => Math.floor(k / width)), height);
  return paste(small, side, side, left, top);
}
