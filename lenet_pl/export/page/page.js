// The page: a drawing goes through the network, and its answer and all maps are shown.

const SHOWN_CLASSES = 10, QUIET = 700;   // ms without a change before a screen reader hears the prediction

function startPage() {
  const find = (id) => document.getElementById(id);
  texts = JSON.parse(find("texts").textContent);
  const network = readNetwork(JSON.parse(find("network").textContent));
  let colors = readColors(), result = null, chosen = null, timer = null, spoken = null, needed = 0;

  find("intro").textContent = say("intro", { model: network.model, classes: network.classes.length,
    parameters: network.parameters.toLocaleString(texts.lang) });
  find("how").textContent = say(`draw_${network.drawing.kind}`);

  const board = createBoard(find("canvas"), find("pen"), {
    changed: () => {
      setBusy(true);
      timer ??= setTimeout(classify, needed);
    },
    cleared: () => { find("error").textContent = ""; showNothing("nothing_yet"); },
    announce: (text) => { find("announcement").textContent = text; },
  });
  find("clear").addEventListener("click", board.clear);
  find("file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      board.show(await openPicture(file), network.side);
    } catch {
      board.clear();
      find("error").textContent = say("not_a_picture", { file: file.name });
    }
  });

  function setBusy(busy) {
    document.querySelector("main").setAttribute("aria-busy", busy);
  }

  function classify() {
    timer = null;
    const start = performance.now(), picture = board.picture(), image = picture && prepare(network, picture);
    if (!image) return showNothing(picture ? "blank" : "nothing_yet");
    showImage(image);
    setBusy(false);
    needed = Math.min(performance.now() - start, 500);   // leaves as much time to the pointer as it takes from it
  }

  function showNothing(why) {
    clearTimeout(timer);
    clearTimeout(spoken);
    [timer, result, chosen] = [null, null, null];
    find("verdict").textContent = say(why);
    find("verdict").className = "empty";
    for (const id of ["classes", "layers"]) find(id).replaceChildren();
    for (const id of ["more", "announcement"]) find(id).textContent = "";
    find("seen").hidden = find("network-layers").hidden = true;
    delete document.body.dataset.predicted;
    setBusy(false);
  }

  // Show what the network makes of an image of the form of the training images.
  function showImage(image) {
    result = forward(network, image);
    showClasses(softmax(result.logits));
    showSeen(image);
    showLayers();
  }

  function showClasses(probabilities) {
    const order = probabilities.map((_, k) => k).sort((a, b) => probabilities[b] - probabilities[a]);
    const few = order.length <= SHOWN_CLASSES, shown = few ? probabilities.map((_, k) => k) : order.slice(0, SHOWN_CLASSES);
    const [best] = order, name = network.classes[best], share = percent(probabilities[best]);
    find("verdict").className = "";
    find("verdict").replaceChildren(...say("verdict", { percent: share }).split("{name}").flatMap((text, k) =>
      (k ? [create("bdi", { text: name }), text] : [text])));
    find("classes").replaceChildren(...shown.map((k) => {
      const bar = create("span");
      bar.style.width = percent(probabilities[k]);
      return create("li", {}, create("bdi", { text: network.classes[k], title: network.classes[k] }),
        create("span", { className: "bar", "aria-hidden": true }, bar), create("span", { className: "percent", text: percent(probabilities[k]) }));
    }));
    find("more").textContent = few ? "" : say("more_classes", { count: order.length - SHOWN_CLASSES });
    clearTimeout(spoken);
    spoken = setTimeout(() => { find("announcement").textContent = say("announce", { name, percent: share }); }, QUIET);
    document.body.dataset.predicted = name;
  }

  function showSeen(image) {
    const { side, channels } = network, canvas = find("seen").querySelector("canvas"), text = say("seen", { side });
    [canvas.width, canvas.height] = [side, side];
    const context = canvas.getContext("2d"), picture = context.createImageData(side, side);
    for (let k = 0; k < side * side; k++)
      for (let c = 0; c < 4; c++) picture.data[4 * k + c] = c === 3 ? 255 : image[(channels === 1 ? 0 : c * side * side) + k];
    context.putImageData(picture, 0, 0);
    find("seen").querySelector("figcaption").textContent = text;
    find("seen").hidden = false;
  }

  let rows = [];   // one for the input, then one for each layer

  function showLayers() {
    if (!find("layers").childElementCount) createLayers();
    find("network-layers").hidden = false;
    [result.input, ...result.outputs].forEach((maps, k) => paintLayer(rows[k], maps, colors));
    showUnit();
  }

  function createLayers() {
    rows = [null, ...network.layers].map((layer, k) => {
      const { shape } = k ? result.outputs[k - 1] : result.input, name = layer ? layer.name : say("input");
      const [maps, height, width] = shape, size = isVector(shape) ? say("shape_units", { units: maps }) : say("shape_maps", { maps, height, width });
      const detail = `${layer ? describeLayer(layer) : say("input_kind")}, ${size}`;
      const choose = (unit, map) => layer && chooseUnit(k - 1, unit ?? strongestOf(k - 1, map), unit === null);
      return { ...createLayer({ name, detail, shape, choose }), detail };
    });
    find("layers").replaceChildren(...rows.map((row) => row.section));
    rows[0].buttons.forEach((button) => { button.disabled = true; });   // pixels are not computed
  }

  function describeLayer({ kind, weight, window: pooled }) {
    const [rows, columns] = pooled ?? (weight ? weight.shape.slice(-2) : []);
    return say(kind, { rows, columns, inputs: weight?.shape[1] });
  }

  function strongestOf(which, map) {
    const maps = result.outputs[which], size = maps.values.length / rows[which + 1].buttons.length;
    return strongest(maps, map * size, size);
  }

  function chooseUnit(which, unit, byKeyboard) {
    chosen = { which, unit };
    showUnit();
    const panel = document.querySelector(".unit"), calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    panel.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
    if (byKeyboard) panel.querySelector("h4").focus({ preventScroll: true });
  }

  // Show, or show again after a change of the drawing, how the chosen value was computed.
  function showUnit() {
    const focused = document.activeElement?.closest(".unit") ? document.activeElement.dataset.step ?? "heading" : null;
    document.querySelectorAll(".unit, .mark").forEach((element) => element.remove());
    if (!chosen) return;
    const { which, unit } = chosen, row = rows[which + 1], explanation = explainUnit(network, result, which, unit);
    const panel = createUnitView({ network, result, colors, explanation, move: moveUnit, close: closeUnit });
    row.section.append(panel);
    const vector = isVector(row.shape), { map } = explanation.place, wide = pictureSize(row.shape).wide;
    const place = vector ? { row: Math.floor(unit / wide), column: unit % wide } : explanation.place;
    markRegion(row.buttons[vector ? 0 : map], row.shape, { top: place.row, left: place.column, rows: 1, columns: 1 });
    const { region } = explanation, sources = rows[which];
    for (const source of region?.map !== undefined ? [region.map] : (explanation.parts ?? []).map((part) => part.map))
      if (!isVector(sources.shape)) markRegion(sources.buttons[source], sources.shape, region);
    if (focused) (panel.querySelector(`[data-step="${focused}"]`) ?? panel.querySelector("h4")).focus({ preventScroll: true });
  }

  function moveUnit(down, right) {
    const { which, unit } = chosen, { shape } = result.outputs[which];
    if (isVector(shape)) {
      const wide = pictureSize(shape).wide;
      chosen.unit = Math.min(Math.max(unit + right + down * wide, 0), shape[0] - 1);
    } else {
      const { map, row, column } = placeOf(shape, unit), inside = (at, count) => Math.min(Math.max(at, 0), count - 1);
      chosen.unit = indexOf(shape, { map, row: inside(row + down, shape[1]), column: inside(column + right, shape[2]) });
    }
    showUnit();
  }

  function closeUnit() {
    const { which, unit } = chosen, row = rows[which + 1];
    chosen = null;
    showUnit();
    row.buttons[isVector(row.shape) ? 0 : placeOf(row.shape, unit).map].focus();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colors = readColors();
    if (result) showLayers();
  });
  document.body.dataset.ready = "true";
}

if (typeof document !== "undefined") startPage();
