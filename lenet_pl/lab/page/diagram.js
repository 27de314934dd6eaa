// The network as a list of layers, each drawn in its size.

import { draw, make } from "./element.js";
import { text } from "./texts.js";

const KINDS = [[/conv/i, "conv"], [/pool|subsampling/i, "pool"], [/linear|rbf/i, "linear"]];
const kindOf = (type) => KINDS.find(([pattern]) => pattern.test(type))?.[1] ?? "other";

export function showNetwork(network) {
  const [train, validation] = network.images;
  document.getElementById("network-summary").textContent = text("network_summary", {
    parameters: network.parameters.toLocaleString("en"), train: train.toLocaleString("en"),
    validation: validation.toLocaleString("en"), classes: network.classes.length,
  });
  const input = { name: text("input"), type: "", shape: network.input, parameters: 0 };
  document.getElementById("diagram").replaceChildren(...[input, ...network.layers].map(layer));
}

function layer({ name, type, shape, parameters }) {
  const count = parameters ? text("layer_parameters", { count: parameters.toLocaleString("en") }) : "";
  return make("li", { class: type ? kindOf(type) : "input" }, picture(shape),
    make("b", {}, name.split(".").at(-1)), make("span", {}, shape.join("×")), make("small", {}, type), make("small", {}, count));
}

function picture(shape) {
  const shapes = shape.length === 3 ? maps(shape) : vector(shape);
  const width = Math.max(...shapes.map((one) => one.x + one.width)) + 1;
  return draw("svg", { viewBox: `-1 -1 ${width + 1} 74`, width: width + 1, height: 74, "aria-hidden": "true" },
    ...shapes.map((one) => draw("rect", one)));
}

function maps([channels, side]) {
  const count = Math.min(channels, 8), size = Math.min(48, 6 + 1.4 * side);
  return Array.from({ length: count }, (_, k) => ({ x: 3 * (count - 1 - k), y: 72 - size - 3 * k, width: size, height: size })).reverse();
}

function vector([size]) {
  const height = Math.min(70, 8 + 5 * Math.sqrt(size));
  return [{ x: 8, y: 72 - height, width: 10, height }];
}
