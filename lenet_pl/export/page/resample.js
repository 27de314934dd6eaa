// Resampling of gray images as Pillow does it, with antialiasing. A gray image is { width, height, values: Float64Array }.

const FILTERS = {
  box: { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bicubic: {
    reach: 2,
    weight(x) {   // the cubic convolution of Keys 1981 with a = -0.5
      const t = Math.abs(x);
      if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
      return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
    },
  },
};

// Python's rounding: halves go to the even number.
function roundHalfEven(x) {
  const down = Math.floor(x), rest = x - down;
  return rest === 0.5 ? down + (down % 2) : Math.floor(x + 0.5);
}

function resize(gray, width, height, filter = "bicubic") {
  if (gray.width === width && gray.height === height) return gray;
  return transpose(resizeRows(transpose(resizeRows(gray, width, FILTERS[filter])), height, FILTERS[filter]));
}

function resizeRows({ width, height, values }, wanted, { reach, weight }) {
  const result = new Float64Array(wanted * height), step = width / wanted, scale = Math.max(step, 1);
  for (let x = 0; x < wanted; x++) {
    const center = (x + 0.5) * step;
    const first = Math.max(0, Math.trunc(center - reach * scale + 0.5));
    const end = Math.min(width, Math.trunc(center + reach * scale + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => weight((first + k - center + 0.5) / scale));
    const total = weights.reduce((a, b) => a + b, 0);
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * values[y * width + first + k];
      result[y * wanted + x] = sum / total;
    }
  }
  return { width: wanted, height, values: result };
}

function transpose({ width, height, values }) {
  const result = new Float64Array(width * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) result[x * height + y] = values[y * width + x];
  return { width: height, height: width, values: result };
}

// Reduce the longer side to `side` px; smaller images stay as they are.
function shrink(gray, side) {
  const scale = side / Math.max(gray.width, gray.height);
  if (scale >= 1) return gray;
  const [width, height] = [gray.width, gray.height].map((length) => Math.max(1, roundHalfEven(length * scale)));
  return resize(gray, width, height, "box");
}

function crop({ width, values }, { left, top, right, bottom }) {
  const result = new Float64Array((right - left) * (bottom - top));
  for (let y = top; y < bottom; y++) result.set(values.subarray(y * width + left, y * width + right), (y - top) * (right - left));
  return { width: right - left, height: bottom - top, values: result };
}

// Put a gray image on a black one.
function paste(gray, width, height, left, top) {
  const result = new Float64Array(width * height);
  for (let y = 0; y < gray.height; y++)
    result.set(gray.values.subarray(y * gray.width, (y + 1) * gray.width), (y + top) * width + left);
  return { width, height, values: result };
}

const clip = (gray) => ({ ...gray, values: gray.values.map((value) => Math.min(Math.max(value, 0), 1)) });
