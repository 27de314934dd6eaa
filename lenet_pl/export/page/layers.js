// The layers, each a function of its numbers and weights, and of the maps before it. Sums are in double precision.

function convolve({ weight, bias, stride, padding, groups }, input) {
  const [maps, inputs, rows, columns] = weight.shape, [, height, width] = input.shape;
  const high = Math.floor((height + 2 * padding[0] - rows) / stride[0]) + 1;
  const wide = Math.floor((width + 2 * padding[1] - columns) / stride[1]) + 1;
  const values = new Float32Array(maps * high * wide), sums = new Float64Array(high * wide);
  for (let map = 0; map < maps; map++) {
    sums.fill(bias ? bias.values[map] : 0);
    const before = Math.floor(map / (maps / groups)) * inputs;   // the first channel of the map's group
    for (let c = 0; c < inputs; c++)
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) {
          const factor = weight.values[((map * inputs + c) * rows + i) * columns + j];
          if (factor === 0) continue;
          const first = Math.max(0, Math.ceil((padding[1] - j) / stride[1]));
          const end = Math.min(wide, Math.floor((width - 1 + padding[1] - j) / stride[1]) + 1);
          for (let y = 0; y < high; y++) {
            const row = y * stride[0] - padding[0] + i;
            if (row < 0 || row >= height) continue;
            const from = ((before + c) * height + row) * width - padding[1] + j;
            for (let x = first; x < end; x++) sums[y * wide + x] += factor * input.values[from + x * stride[1]];
          }
        }
    values.set(sums, map * high * wide);
  }
  return { shape: [maps, high, wide], values };
}

function multiply({ weight, bias }, input) {
  const [units, inputs] = weight.shape, values = new Float32Array(units);
  for (let unit = 0; unit < units; unit++) {
    let sum = bias ? bias.values[unit] : 0;
    for (let k = 0; k < inputs; k++) sum += weight.values[unit * inputs + k] * input.values[k];
    values[unit] = sum;
  }
  return { shape: [units, 1, 1], values };
}

// The negative squared distance to the code of each class.
function distances({ weight }, input) {
  const [units, inputs] = weight.shape, values = new Float32Array(units);
  for (let unit = 0; unit < units; unit++) {
    let sum = 0;
    for (let k = 0; k < inputs; k++) sum -= (input.values[k] - weight.values[unit * inputs + k]) ** 2;
    values[unit] = sum;
  }
  return { shape: [units, 1, 1], values };
}

function pool(layer, input, reduce) {
  const [maps, height, width] = input.shape;
  const { window: [rows, columns], stride } = layer;
  const high = Math.floor((height - rows) / stride[0]) + 1, wide = Math.floor((width - columns) / stride[1]) + 1;
  const values = new Float32Array(maps * high * wide), inside = new Float64Array(rows * columns);
  for (let map = 0; map < maps; map++)
    for (let y = 0; y < high; y++)
      for (let x = 0; x < wide; x++) {
        for (let i = 0; i < rows; i++)
          for (let j = 0; j < columns; j++)
            inside[i * columns + j] = input.values[(map * height + y * stride[0] + i) * width + x * stride[1] + j];
        values[(map * high + y) * wide + x] = reduce(inside, map);
      }
  return { shape: [maps, high, wide], values };
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// The average; in the LeNets as published, times a coefficient, plus a bias, both of the map.
function average(layer, input) {
  const { weight, bias } = layer;
  return pool(layer, input, (inside, map) => (weight ? mean(inside) * weight.values[map] + bias.values[map] : mean(inside)));
}

// Batch normalization of a trained network: a factor and a summand for each channel.
function affine({ weight, bias }, input) {
  const plane = input.shape[1] * input.shape[2];
  const values = input.values.map((value, k) => {
    const channel = Math.floor(k / plane);
    return value * weight.values[channel] + bias.values[channel];
  });
  return { shape: input.shape, values };
}

// The mean and the standard deviation of each group of channels.
function groupStatistics({ groups, eps }, input) {
  const size = input.values.length / groups;
  return Array.from({ length: groups }, (_, group) => {
    const values = input.values.subarray(group * size, (group + 1) * size), middle = mean(Float64Array.from(values));
    const variance = mean(Float64Array.from(values, (value) => (value - middle) ** 2));
    return { mean: middle, deviation: Math.sqrt(variance + eps) };
  });
}

function normalizeGroups(layer, input) {
  const { weight, bias, groups } = layer, statistics = groupStatistics(layer, input);
  const plane = input.shape[1] * input.shape[2], size = input.values.length / groups;
  const values = input.values.map((value, k) => {
    const group = statistics[Math.floor(k / size)], channel = Math.floor(k / plane);
    const normal = (value - group.mean) / group.deviation;
    return normal * (weight ? weight.values[channel] : 1) + (bias ? bias.values[channel] : 0);
  });
  return { shape: input.shape, values };
}

// The error function: a series without cancellation. Source: Abramowitz and Stegun 1964, 7.1.6.
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  sigmoid,
  tanh: Math.tanh,
  leaky_relu: (x, { slope }) => (x < 0 ? slope * x : x),
  elu: (x, { alpha }) => (x < 0 ? alpha * Math.expm1(x) : x),
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
  silu: (x) => x * sigmoid(x),
  scaled_tanh: (x, { amplitude, slope }) => amplitude * Math.tanh(slope * x),
};

const LAYERS = {
  conv: convolve,
  linear: multiply,
  rbf: distances,
  max_pool: (layer, input) => pool(layer, input, (inside) => inside.reduce((a, b) => Math.max(a, b))),
  avg_pool: average,
  affine,
  group_norm: normalizeGroups,
};
for (const [kind, compute] of Object.entries(ACTIVATIONS))
  LAYERS[kind] = (layer, input) => ({ shape: input.shape, values: input.values.map((value) => compute(value, layer)) });
