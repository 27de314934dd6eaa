// A drawing or a picture in the form of the training images: ink found, scaled and centered, as `lenet_pl.photo` does it.
// What photos of paper need in addition (light, shadows, frames) is in `lenet predict` alone.

const MIN_CONTRAST = 0.08, MAX_NOISE = 0.3, EDGE = 0.15, STROKE = 2;   // as in lenet_pl/photo

// Convert a picture, RGB of 0 to 255 as { width, height, pixels }, to levels of (channels, side, side); null if it is blank.
function prepare(network, picture) {
  const { side, channels, drawing } = network;
  const exact = picture.width === side && picture.height === side;
  if (drawing.kind === "whole") return exact ? planes(picture, channels) : wholePicture(network, picture);
  let gray = toGray(picture);
  if (isBlank(gray)) return null;
  if (isLight(gray)) gray = { ...gray, values: gray.values.map((level) => 1 - level) };
  const placed = exact ? gray : drawing.kind === "garment" ? placeGarment(gray, side) : placeInk(gray, side, drawing);
  return placed && Uint8Array.from(placed.values, (level) => roundHalfEven(level * 255));
}

// The gray level of RGB as Pillow computes it (ITU-R 601-2), in [0, 1].
function toGray({ width, height, pixels }) {
  const values = new Float64Array(width * height);
  for (let k = 0; k < values.length; k++)
    values[k] = ((pixels[3 * k] * 19595 + pixels[3 * k + 1] * 38470 + pixels[3 * k + 2] * 7471 + 0x8000) >> 16) / 255;
  return { width, height, values };
}

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function isBlank({ values }) {
  const [low, high] = range(values);
  return high - low < MIN_CONTRAST;
}

// The quantile with linear interpolation, as NumPy's.
function quantile(values, fraction) {
  const sorted = Float64Array.from(values).sort(), place = fraction * (sorted.length - 1), down = Math.floor(place);
  return sorted[down] + (place - down) * (sorted[Math.min(down + 1, sorted.length - 1)] - sorted[down]);
}

function backgroundLevel({ width, height, values }) {
  return quantile(values.filter((_, k) => {
    const x = k % width, y = (k - x) / width;
    return x === 0 || y === 0 || x === width - 1 || y === height - 1;
  }), 0.5);
}

function isLight(gray) {
  const small = shrink(gray, 256), background = backgroundLevel(small), [low, high] = range(small.values);
  return background - low > high - background;
}

// The picture without a search for ink: its largest square, or the whole of it, in the size of the training images.
function wholePicture({ side, channels, drawing }, picture) {
  const { width, height } = picture, longer = Math.max(width, height), shorter = Math.min(width, height);
  const source = planes(picture, channels), result = [];
  for (let c = 0; c < channels; c++) {
    let plane = { width, height, values: Float64Array.from(source.subarray(c * width * height, (c + 1) * width * height)) };
    const left = Math.floor((width - shorter) / 2), top = Math.floor((height - shorter) / 2);
    if (drawing.fit === "crop") plane = crop(plane, { left, top, right: left + shorter, bottom: top + shorter });
    if (drawing.fit === "pad") {
      const shifted = { ...plane, values: plane.values.map((level) => level - drawing.background) };   // black is background
      plane = paste(shifted, longer, longer, Math.floor((longer - width) / 2), Math.floor((longer - height) / 2));
      plane.values = plane.values.map((level) => level + drawing.background);
    }
    result.push(...resize(plane, side, side).values);
  }
  return Uint8Array.from(result, (level) => Math.min(Math.max(roundHalfEven(level), 0), 255));
}

// Separate the channels of a picture: levels of (channels, height, width).
function planes(picture, channels) {
  if (channels === 1) return Uint8Array.from(toGray(picture).values, (level) => Math.round(level * 255));
  const size = picture.width * picture.height, result = new Uint8Array(3 * size);
  for (let k = 0; k < 3 * size; k++) result[(k % 3) * size + Math.floor(k / 3)] = picture.pixels[k];
  return result;
}

// Scale a garment to fill the square, as in Fashion-MNIST.
function placeGarment(gray, side) {
  const background = backgroundLevel(gray), room = Math.max(1 - background, MIN_CONTRAST);
  const found = { ...gray, values: gray.values.map((level) => (level - background) / room) };
  const mask = blur(found).values.map((level) => (level > MIN_CONTRAST ? 1 : 0));
  const box = boundingBox({ ...found, values: mask }, 0.5);
  return box && fitInto(crop(clip(found), box), side, side, false);
}

// Scale and center handwriting, light ink on black, as in the dataset; null if there is none.
function placeInk(gray, side, { box: share, by_mass: byMass }) {
  const background = backgroundLevel(gray);
  gray = { ...gray, values: gray.values.map((level) => level - background) };
  const mask = markInk(gray);
  if (!mask) return null;
  const box = roundHalfEven(side * share), foreground = extractForeground(gray, mask);
  let ink = shrink(crop(foreground, boundingBox(foreground, EDGE)), 8 * box);
  ink = dilateStrokes(ink, (STROKE * Math.max(ink.width, ink.height)) / box);
  return fitInto(crop(ink, boundingBox(ink, EDGE)), side, box, byMass);
}

// Mark the ink, without specks; null if there is none.
function markInk(gray) {
  const smooth = blur(gray).values, floor = Math.min(Math.max(MIN_CONTRAST, noiseLevel(smooth, 6)), MAX_NOISE);
  const above = smooth.filter((level) => level > floor);
  if (!above.length) return null;
  const cut = threshold(above);
  return withoutSpecks({ ...gray, values: smooth.map((level) => (level > cut ? 1 : 0)) });
}

// A Gaussian filter with a standard deviation of 1/400 of the image, reflected at the border, as SciPy's.
function blur(gray) {
  const sigma = Math.max(gray.width, gray.height) / 400, reach = Math.trunc(4 * sigma + 0.5);
  const weights = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-((k - reach) ** 2) / (2 * sigma * sigma)));
  const total = weights.reduce((a, b) => a + b, 0);
  const rows = ({ width, height, values }) => {
    const result = new Float64Array(values.length);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        let sum = 0;
        for (let k = -reach; k <= reach; k++) {
          let at = x + k;
          while (at < 0 || at >= width) at = at < 0 ? -1 - at : 2 * width - 1 - at;
          sum += weights[k + reach] * values[y * width + at];
        }
        result[y * width + x] = sum / total;
      }
    return { width, height, values: result };
  };
  return transpose(rows(transpose(rows(gray))));
}

// The mean plus a number of standard deviations of the background, estimated from the darkest 30% of the levels.
function noiseLevel(values, deviations) {
  const low = quantile(values, 0.1), high = quantile(values, 0.3), deviation = (high - low) / (1.2816 - 0.5244);
  return high + (0.5244 + deviations) * deviation;
}

// The threshold with the largest between-class variance. Source: Otsu 1979.
function threshold(values) {
  const bins = 128, [low, high] = range(values), step = (high - low) / bins || 1;
  const counts = new Float64Array(bins);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / step))] += 1;
  const middle = (bin) => low + (bin + 0.5) * step;
  const all = counts.reduce((sum, count, bin) => sum + count * middle(bin), 0);
  let below = 0, sums = 0, best = -Infinity, found = low;
  counts.forEach((count, bin) => {
    below += count;
    sums += count * middle(bin);
    const above = values.length - below;
    const between = below * above * (sums / below - (all - sums) / above) ** 2;
    if (between > best) [best, found] = [between, low + (bin + 1) * step];
  });
  return found;
}

// Remove pieces much smaller than the largest, and those at the border unless the ink itself reaches it.
function withoutSpecks(mask) {
  const { labels, count } = labelPieces(mask), areas = new Float64Array(count + 1), atRim = new Set();
  const { width, height } = mask;
  labels.forEach((label, k) => {
    const x = k % width, y = Math.floor(k / width);
    if (label) areas[label] += 1;
    if (x === 0 || y === 0 || x === width - 1 || y === height - 1) atRim.add(label);
  });
  const largest = Math.max(...areas);
  let kept = areas.map((area) => (area && area >= 0.02 * largest ? 1 : 0));
  const inside = kept.map((keep, label) => (atRim.has(label) ? 0 : keep));
  if (areas.some((area, label) => inside[label] && area >= 0.05 * largest)) kept = inside;
  return { ...mask, values: Float64Array.from(labels, (label) => kept[label]) };
}

// Number the pieces of a mask from 1; pixels that touch at a corner are connected.
function labelPieces({ width, height, values }) {
  const labels = new Int32Array(values.length);
  let count = 0;
  for (let start = 0; start < values.length; start++) {
    if (!values[start] || labels[start]) continue;
    const todo = [start];
    labels[start] = ++count;
    while (todo.length) {
      const at = todo.pop(), x = at % width, y = (at - x) / width;
      for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row++)
        for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column++) {
          const next = row * width + column;
          if (!values[next] || labels[next]) continue;
          labels[next] = count;
          todo.push(next);
        }
    }
  }
  return { labels, count };
}
