// The network: its weights, the preprocessing of an image, and the forward pass with the values of every layer.
// A set of maps is { shape: [channels, height, width], values: Float32Array }; a vector has the shape [features, 1, 1].

// Decode the network that is written in the page: little-endian float32 numbers in base64, cut into the weights by name.
function readNetwork(network) {
  const bytes = Uint8Array.from(atob(network.weights), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const numbers = Float32Array.from({ length: bytes.length / 4 }, (_, k) => view.getFloat32(4 * k, true));
  const cut = (place) => {
    if (!place) return null;
    const count = place.shape.reduce((a, b) => a * b, 1);
    return { shape: place.shape, values: numbers.subarray(place.at, place.at + count) };
  };
  const layers = network.layers.map((layer) => ({ ...layer, weight: cut(layer.weight), bias: cut(layer.bias) }));
  return { ...network, layers, resize: cut(network.resize) };
}

// Convert an image, gray levels or RGB of 0 to 255 as (channels, side, side), to the input of the network.
function preprocess(network, image) {
  const { channels, side, image_size: size } = network;
  const values = new Float32Array(channels * size * size);
  for (let c = 0; c < channels; c++) {
    const pixels = Float64Array.from(image.subarray(c * side * side, (c + 1) * side * side), (level) => level / 255);
    const plane = network.resize ? resizePlane(network.resize, pixels, side, size) : padPlane(network, pixels);
    for (let k = 0; k < plane.length; k++) values[c * size * size + k] = (plane[k] - network.mean[c]) / network.std[c];
  }
  return { shape: [channels, size, size], values };
}

// Antialiased bilinear interpolation: a product with the same matrix from both sides.
function resizePlane(matrix, pixels, side, size) {
  const rows = new Float64Array(size * side), result = new Float64Array(size * size);
  for (let y = 0; y < size; y++)
    for (let k = 0; k < side; k++) {
      const weight = matrix.values[y * side + k];
      if (weight !== 0) for (let x = 0; x < side; x++) rows[y * side + x] += weight * pixels[k * side + x];
    }
  for (let x = 0; x < size; x++)
    for (let k = 0; k < side; k++) {
      const weight = matrix.values[x * side + k];
      if (weight !== 0) for (let y = 0; y < size; y++) result[y * size + x] += weight * rows[y * side + k];
    }
  return result;
}

function padPlane({ side, image_size: size, background }, pixels) {
  const result = new Float64Array(size * size).fill(background), margin = Math.floor((size - side) / 2);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) result[(y + margin) * size + x + margin] = pixels[y * side + x];
  return result;
}

// Compute all layers; the values of the last one are the logits.
function forward(network, image) {
  const input = preprocess(network, image), outputs = [];
  let maps = input;
  for (const layer of network.layers) {
    maps = LAYERS[layer.kind](layer, maps);
    outputs.push(maps);
  }
  return { input, outputs, logits: maps.values };
}

function softmax(logits) {
  const largest = Math.max(...logits), powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}
