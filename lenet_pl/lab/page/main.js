// The page: the form starts trainings, and the events of the lab fill the cards and the curves.

import { follow, get, post } from "./api.js";
import { Card, isRunning } from "./card.js";
import { chart } from "./charts.js";
import { showNetwork } from "./diagram.js";
import { make, put } from "./element.js";
import { build, settings, showError, variation } from "./form.js";
import { fill, text } from "./texts.js";

const COLORS = 6;
const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
const runs = new Map(); // by name: {state, rows, losses, view, card, shown, color}
let focusOn = null; // the run that is to be opened and focused when it comes

const byId = (id) => document.getElementById(id);

let asked = 0, timer = 0;
function changed() {
  clearTimeout(timer);
  timer = setTimeout(preview, 250);
}

// Ask the lab what the settings mean, and show its answer unless a newer one is on its way
async function preview() {
  const mine = ++asked;
  try {
    const network = await post("preview", { settings: settings() });
    if (mine !== asked) return;
    showError(null);
    showNetwork(network);
    put(byId("command"), network.command);
    if (byId("augmentation").open) await showAugmentation(mine);
  } catch (error) {
    if (mine === asked) showError(error);
  }
  document.body.dataset.previewed = String(mine);
}

async function showAugmentation(mine) {
  const { picture, changed: augmented } = await post("augmentation", { settings: settings() });
  if (mine !== asked) return;
  byId("augmentation-picture").src = picture;
  byId("augmentation-picture").alt = text(augmented ? "augmentation_alt" : "augmentation_none");
}

async function start(paused) {
  try {
    const { names } = await post("runs", { settings: settings(), vary: variation(), paused });
    showError(null);
    open(names[0]);
    for (const name of names) if (runs.has(name)) runs.get(name).card.element.open = true;
  } catch (error) {
    showError(error);
  }
}

function open(name) {
  focusOn = name;
  if (runs.has(name)) reveal(runs.get(name));
}

function reveal(run) {
  focusOn = null;
  run.card.element.open = true;
  run.card.element.querySelector("summary").focus();
  run.card.element.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth", block: "start" });
}

function take(news, first) {
  if (first) for (const name of runs.keys()) if (!(name in news)) forget(name);
  for (const [name, found] of Object.entries(news)) {
    const run = runs.get(name) ?? add(name, found);
    const before = run.state.status;
    run.state = { ...run.state, ...found.state };
    if (found.rows) run.rows = [...run.rows.slice(0, found.rows.first), ...found.rows.values];
    if (found.losses) {
      run.losses.values = [...run.losses.values.slice(0, found.losses.first), ...found.losses.values];
      run.losses.stride = found.losses.stride;
    }
    run.view = found.view ?? run.view;
    run.card.update(run, found);
    if (before && before !== run.state.status) put(byId("said"), text("said", { name, status: text(`status.${run.state.status}`) }));
    if (name === focusOn) reveal(run);
  }
  put(byId("no-runs"), runs.size > 0, "hidden");
  schedule();
  document.body.dataset.ready = "true";
}

function add(name, { state }) {
  const running = isRunning(state);
  const run = { state: {}, rows: [], losses: { values: [], stride: 1 }, view: null, shown: running, color: runs.size % COLORS };
  run.card = new Card(name, open);
  run.card.element.open = running;
  const box = make("input", { type: "checkbox", checked: running, onchange: () => { run.shown = box.checked; schedule(); } });
  run.box = make("li", {}, make("label", {}, box, make("i", { class: `swatch color${run.color}`, "aria-hidden": "true" }), run.label = make("bdi", {})));
  runs.set(name, run);
  byId("cards").prepend(run.card.element);
  byId("legend").append(run.box);
  return run;
}

function forget(name) {
  runs.get(name).card.element.remove();
  runs.get(name).box.remove();
  runs.delete(name);
}

let due = false, last = 0;
function schedule() {
  if (due) return;
  due = true;
  const wait = (calm.matches ? 1000 : 200) - (performance.now() - last);
  setTimeout(() => requestAnimationFrame(drawCharts), Math.max(0, wait));
}

function drawCharts() {
  due = false;
  last = performance.now();
  const shown = [...runs].filter(([, run]) => run.shown);
  for (const [name, run] of runs) put(run.label, `${name} ${run.state.label}`);
  for (const [id, metric] of [["loss", "loss"], ["accuracy", "accuracy"]]) {
    const series = shown.flatMap(([, run]) => curves(run, metric));
    const values = shown.filter(([, run]) => run.rows.length).map(([name, run]) =>
      text("chart_value", { name, value: run.rows.at(-1)[`val/${metric}`]?.toFixed(4) ?? "" })).join(" ");
    const range = metric === "accuracy" ? { high: 1 } : { low: 0 };
    chart(id, series, { ...range, alt: text("chart_alt", { title: text(metric), count: shown.length, values }) });
  }
}

function curves({ rows, losses, color }, metric) {
  const of = (split) => rows.filter((row) => row[`${split}/${metric}`] !== undefined).map((row) => [row.step, row[`${split}/${metric}`]]);
  const steps = losses.values.map((value, k) => [(k + 0.5) * losses.stride + 0.5, value]);
  const thin = metric === "loss" ? [{ style: "steps", points: steps, color }] : [];
  return [...thin, { style: "train", points: of("train"), color }, { style: "val", points: of("val"), color }];
}

async function copy() {
  const command = byId("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch { // not allowed, or not a secure address
    getSelection().selectAllChildren(command);
    document.execCommand("copy");
  }
  put(byId("copy"), text("copied"));
  setTimeout(() => put(byId("copy"), text("copy")), 2000);
}

fill(document);
byId("form").addEventListener("submit", (event) => { event.preventDefault(); start(false); });
byId("start-paused").addEventListener("click", () => start(true));
byId("copy").addEventListener("click", copy);
byId("augmentation").addEventListener("toggle", () => byId("augmentation").open && preview());
build(await get("choices"), changed);
preview();
follow(take, (problem) => put(byId("connection"), problem && text(problem)));
