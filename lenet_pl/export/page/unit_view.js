// How one value was computed, for the reader: tables of numbers, and formulas.

const SHOWN_MAPS = 6, SHOWN_TERMS = 10;   // the rest is given as one sum

// A panel with everything about a value. `move(rows, columns)` and `close()` are its buttons.
function createUnitView({ network, result, colors, explanation, move, close }) {
  const { number: which, unit, layer, place, value } = explanation, name = layer.name;
  const shape = result.outputs[which].shape, vector = isVector(shape);
  const values = { layer: name, map: place.map + 1, row: place.row + 1, column: place.column + 1, unit: unit + 1, value: number(value, 4) };
  const last = which === network.layers.length - 1;
  const heading = last ? say("unit_heading_class", { ...values, name: network.classes[unit] })
    : say(vector ? "unit_heading_vector" : "unit_heading", values);
  const steps = vector ? [["←", "previous", 0, -1], ["→", "next", 0, 1]]
    : [["←", "left", 0, -1], ["→", "right", 0, 1], ["↑", "up", -1, 0], ["↓", "down", 1, 0]];
  const buttons = steps.map(([sign, key, rows, columns]) => {
    const button = create("button", { type: "button", text: sign, "aria-label": say(key), title: say(key), "data-step": key });
    button.addEventListener("click", () => move(rows, columns));
    return button;
  });
  const end = create("button", { type: "button", text: say("close"), "data-step": "close" });
  end.addEventListener("click", close);
  const panel = create("div", { className: "unit", role: "region", "aria-label": say("unit_label", { layer: name }) },
    create("div", { className: "top" }, create("h4", { text: heading, tabindex: -1 }),
      create("div", { className: "steps" }, ...buttons, end)));
  panel.append(...FORMS[explanation.form]({ network, result, colors, explanation, name }));
  panel.append(...followingSteps(network, result, which, unit, last));
  panel.addEventListener("keydown", (event) => {
    const [rows, columns] = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key] ?? [0, 0];
    if (event.key === "Escape") close();
    else if ((rows || columns) && !event.target.closest(".part")) move(rows, columns);   // those of a table scroll it
    else return;
    event.preventDefault();
  });
  return panel;
}

const formula = (text) => create("p", { className: "formula", text });

// A table of numbers with the colors of the maps.
function numberTable(values, columns, caption, colors, largest, chosen = -1) {
  const table = create("table", { className: "grid" }, create("caption", { text: caption })), body = create("tbody");
  for (let start = 0; start < values.length; start += columns) {
    const cells = values.slice(start, start + columns).map((value, k) => {
      const cell = create("td", { text: value.toFixed(2).replace("-", "−") }), color = colorOf(colors, value, largest);
      cell.style.backgroundColor = `rgb(${color})`;
      cell.style.color = textColor(color);
      cell.classList.toggle("chosen", start + k === chosen);
      return cell;
    });
    body.append(create("tr", {}, ...cells));
  }
  table.append(body);
  return table;
}

function sourceName(network, which, map) {
  return say("source_map", { layer: which ? network.layers[which - 1].name : say("input"), map: map + 1 });
}

function sumLine({ sum, bias, value }) {
  const numbers = { sum: number(sum, 4), value: number(value, 4) };
  return formula(bias === null ? say("sum_only", numbers) : say("sum_bias", { ...numbers, bias: number(bias, 4) }));
}

function patchForm({ network, result, colors, explanation }) {
  const { parts, region, number: which } = explanation, shown = parts.slice(0, SHOWN_MAPS), rest = parts.slice(SHOWN_MAPS);
  const input = largestOf(inputOf(result, which).values);
  const weights = largestOf(parts.flatMap((part) => part.kernel)), products = largestOf(parts.flatMap((part) => part.products));
  const rows = shown.map((part) => {
    const source = sourceName(network, which, part.map), { columns } = region;
    const patch = say("patch", { source, top: region.top + 1, bottom: region.top + region.rows,
      left: region.left + 1, right: region.left + columns });
    const sign = (text) => create("span", { className: "sign", text, "aria-hidden": true });
    return create("div", { className: "part", tabindex: 0, role: "group", "aria-label": source },
      numberTable(part.patch, columns, patch, colors, input), sign("×"),
      numberTable(part.kernel, columns, say("kernel"), colors, weights), sign("="),
      numberTable(part.products, columns, say("products", { sum: number(part.sum, 4) }), colors, products));
  });
  if (rest.length) rows.push(formula(say("other_maps", { count: rest.length, sum: number(rest.reduce((a, b) => a + b.sum, 0), 4) })));
  return [sumLine(explanation), ...rows];
}

function windowForm({ network, result, colors, explanation }) {
  const { values, mean: middle, chosen, trained, region, number: which, value } = explanation;
  const caption = say("window", { source: sourceName(network, which, region.map) });
  const numbers = { count: values.length, value: number(value, 4), mean: number(middle, 4) };
  const text = chosen >= 0 ? say("largest_of", numbers)
    : trained ? say("mean_trained", { ...numbers, weight: number(trained.weight, 4), bias: number(trained.bias, 4) }) : say("mean_of", numbers);
  return [formula(text), numberTable(values, region.columns, caption, colors, largestOf(inputOf(result, which).values), chosen)];
}

function termForm({ network, result, explanation }) {
  const { terms, number: which, layer, value } = explanation, { shape } = inputOf(result, which), squares = layer.kind === "rbf";
  const before = which ? network.layers[which - 1].name : say("input");
  const head = ["term_input", "term_value", squares ? "term_code" : "term_weight", squares ? "term_square" : "term_product"];
  const body = terms.slice(0, SHOWN_TERMS).map((term) => {
    const { map, row, column } = placeOf(shape, term.input), values = { layer: before, map: map + 1, row: row + 1, column: column + 1 };
    const where = isVector(shape) ? say("place_vector", { ...values, unit: term.input + 1 }) : say("place", values);
    return create("tr", {}, create("td", { text: where }),
      ...[term.value, term.weight, term.product].map((entry) => create("td", { text: number(entry, 4) })));
  });
  const table = create("table", { className: "terms" },
    create("thead", {}, create("tr", {}, ...head.map((key) => create("th", { text: say(key), scope: "col" })))),
    create("tbody", {}, ...body));
  const rest = terms.slice(SHOWN_TERMS), sum = number(rest.reduce((a, b) => a + b.product, 0), 4);
  const parts = [squares ? formula(say("rbf_sum", { value: number(value, 4) })) : sumLine(explanation),
    create("h5", { text: say("terms_heading") }), create("div", { className: "part", tabindex: 0, role: "group", "aria-label": say("terms_heading") }, table)];
  return rest.length ? [...parts, formula(say("other_terms", { count: rest.length, sum }))] : parts;
}

function formulaForm(key) {
  return ({ explanation }) => {
    const { layer, before, weight, bias, mean: middle, deviation, value } = explanation;
    const numbers = Object.entries({ before, weight, bias, mean: middle, deviation, value }).filter(([, entry]) => entry !== undefined);
    const shown = Object.fromEntries(numbers.map(([name, entry]) => [name, number(entry, 4)]));
    return [formula(say(key, { ...shown, name: say(layer.kind) }))];
  };
}

const FORMS = {
  patches: patchForm,
  window: windowForm,
  terms: termForm,
  affine: formulaForm("affine_formula"),
  norm: formulaForm("norm_formula"),
  activation: formulaForm("activation_formula"),
};

// What becomes of the value: one line for each layer up to the next one with weights.
function followingSteps(network, result, which, unit, last) {
  const lines = [], { steps, next } = followUnit(network, result, which, unit);
  for (const step of steps) {
    const layer = network.layers[step.number].name;
    if (step.unit === null) lines.push(say("then_no_window", { layer }));
    else if (network.layers[step.number].window)
      lines.push(say("then_pool", { layer, value: number(result.outputs[step.number].values[step.unit], 4) }));
    else {
      const [line] = FORMS[explainUnit(network, result, step.number, step.unit).form](
        { network, result, explanation: explainUnit(network, result, step.number, step.unit) });
      lines.push(`${layer}: ${line.textContent}`);
    }
  }
  if (next !== null) lines.push(say("then_next", { layer: network.layers[next].name }));
  if (last) lines.push(say("then_end"));
  if (!lines.length) return [];
  return [create("h5", { text: say("then") }), create("ol", {}, ...lines.map((text) => create("li", { className: "formula", text })))];
}
