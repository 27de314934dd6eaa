// How one value of a layer was computed, as numbers. `unit` is the index of the value in the layer's maps.

function placeOf(shape, unit) {
  const plane = shape[1] * shape[2], rest = unit % plane;
  return { map: Math.floor(unit / plane), row: Math.floor(rest / shape[2]), column: rest % shape[2] };
}

const indexOf = (shape, { map, row, column }) => (map * shape[1] + row) * shape[2] + column;

const inputOf = (result, number) => (number ? result.outputs[number - 1] : result.input);

function explainUnit(network, result, number, unit) {
  const layer = network.layers[number], input = inputOf(result, number), output = result.outputs[number];
  const place = placeOf(output.shape, unit), explain = EXPLANATIONS[layer.kind] ?? explainValue;
  return { number, unit, layer, place, value: output.values[unit], ...explain(layer, input, place, unit) };
}

// Convolution: for each input map the patch, the kernel and their products; the largest sums first.
function explainConvolution({ weight, bias, stride, padding, groups }, input, { map, row, column }) {
  const [maps, inputs, rows, columns] = weight.shape, [, height, width] = input.shape;
  const top = row * stride[0] - padding[0], left = column * stride[1] - padding[1];
  const before = Math.floor(map / (maps / groups)) * inputs, size = rows * columns, parts = [];
  for (let c = 0; c < inputs; c++) {
    const at = (map * inputs + c) * size, kernel = Array.from(weight.values.subarray(at, at + size));
    if (kernel.every((factor) => factor === 0)) continue;   // the published LeNets connect only some of the maps
    const patch = kernel.map((_, k) => {
      const y = top + Math.floor(k / columns), x = left + (k % columns);
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      return inside ? input.values[((before + c) * height + y) * width + x] : 0;
    });
    const products = kernel.map((factor, k) => factor * patch[k]);
    parts.push({ map: before + c, patch, kernel, products, sum: products.reduce((a, b) => a + b, 0) });
  }
  parts.sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const sum = parts.reduce((all, part) => all + part.sum, 0), region = { top, left, rows, columns };
  return { form: "patches", parts, sum, bias: bias ? bias.values[map] : null, region };
}

// Pooling: the values of the window, and which of them is the largest.
function explainPooling({ kind, window: [rows, columns], stride, weight, bias }, input, { map, row, column }) {
  const top = row * stride[0], left = column * stride[1], [, height, width] = input.shape;
  const values = Array.from({ length: rows * columns }, (_, k) =>
    input.values[(map * height + top + Math.floor(k / columns)) * width + left + (k % columns)]);
  const chosen = kind === "max_pool" ? values.indexOf(Math.max(...values)) : -1;
  const trained = weight ? { weight: weight.values[map], bias: bias.values[map] } : null;
  return { form: "window", values, mean: mean(values), chosen, trained, region: { map, top, left, rows, columns } };
}

// Fully connected: one product for each input; for distances, one square. The largest first.
function explainTerms({ kind, weight, bias }, input, place, unit) {
  const inputs = weight.shape[1];
  const terms = Array.from(input.values, (value, k) => {
    const factor = weight.values[unit * inputs + k];
    return { input: k, value, weight: factor, product: kind === "rbf" ? -((value - factor) ** 2) : value * factor };
  });
  terms.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const sum = terms.reduce((all, term) => all + term.product, 0);
  return { form: "terms", terms, sum, bias: bias ? bias.values[unit] : null };
}

function explainAffine({ weight, bias }, input, { map }, unit) {
  return { form: "affine", before: input.values[unit], weight: weight.values[map], bias: bias.values[map] };
}

function explainNorm(layer, input, { map }, unit) {
  const { weight, bias, groups } = layer;
  const group = groupStatistics(layer, input)[Math.floor(map / (input.shape[0] / groups))];
  const factors = { weight: weight ? weight.values[map] : 1, bias: bias ? bias.values[map] : 0 };
  return { form: "norm", before: input.values[unit], ...group, ...factors };
}

const explainValue = (layer, input, place, unit) => ({ form: "activation", before: input.values[unit] });

const EXPLANATIONS = {
  conv: explainConvolution,
  max_pool: explainPooling,
  avg_pool: explainPooling,
  linear: explainTerms,
  rbf: explainTerms,
  affine: explainAffine,
  group_norm: explainNorm,
};

// What becomes of a value up to the next layer with weights of its own: pooling, normalization, activation.
function followUnit(network, result, number, unit) {
  const steps = [];
  for (let next = number + 1; next < network.layers.length; next++) {
    const layer = network.layers[next], shape = result.outputs[next].shape;
    if (["conv", "linear", "rbf"].includes(layer.kind)) return { steps, next };
    if (layer.window) {
      const place = placeOf(result.outputs[next - 1].shape, unit);
      const [row, column] = [place.row, place.column].map((at, axis) => Math.min(Math.floor(at / layer.stride[axis]), shape[axis + 1]));
      const outside = row === shape[1] || column === shape[2]
        || place.row - row * layer.stride[0] >= layer.window[0] || place.column - column * layer.stride[1] >= layer.window[1];
      if (outside) return { steps: [...steps, { number: next, unit: null }], next: null };
      unit = indexOf(shape, { map: place.map, row, column });
    }
    steps.push({ number: next, unit });
  }
  return { steps, next: null };
}
