// The form: what is chosen, as changes of the defaults.

import { make, put } from "./element.js";
import { FIELDS, SECTIONS } from "./fields.js";
import { hasText, text } from "./texts.js";

const GROUPS = ["data", "model", "optimizer", "scheduler", "augment", "callbacks"];
const DEFAULTS = { model: "lenet5", optimizer: "adam", scheduler: "plateau", augment: "none", callbacks: "default" };

let choices, changed;
const chosen = {}; // dotted keys that differ from the defaults

// The value that a training would have
export function valueOf(key) {
  if (key in chosen) return chosen[key];
  const [group, name] = key.split(".");
  if (GROUPS.includes(key)) return key === "data" ? Object.keys(choices.groups.data)[0] : DEFAULTS[key];
  if (name === undefined) return choices.defaults[key];
  const values = choices.groups[group]?.[valueOf(group)] ?? choices.defaults[group];
  return values?.[name] ?? (group in choices.groups ? undefined : choices.defaults[group]?.[name]);
}

export const settings = () => ({ ...chosen });

// What differs from one training to the next: null, or a key and values
export function variation() {
  const key = document.getElementById("compare-key").value;
  if (!key) return null;
  const words = document.getElementById("compare-values").value.split(/[\s,;]+/).filter(Boolean);
  const values = words.map((word) => (word.trim() !== "" && Number.isFinite(Number(word)) ? Number(word) : word));
  return { key, values };
}

export function build(found, onchange) {
  choices = found;
  changed = onchange;
  const sections = document.getElementById("sections");
  for (const section of SECTIONS) {
    const body = section.fields.map((field) => make("div", { class: "field", "data-key": field.key }));
    sections.append(make("details", { open: section.open }, make("summary", {}, text(`section.${section.name}`)), ...body));
  }
  sections.append(comparison());
  refresh();
}

function comparison() {
  const keys = FIELDS.filter((field) => field.key !== "data" && field.kind !== "stages" && field.kind !== "numbers");
  const key = make("select", { id: "compare-key", onchange: () => { more.disabled = !key.value; changed(); } },
    make("option", { value: "" }, text("compare_none")),
    ...keys.map((field) => make("option", { value: field.key }, `${text(`field.${field.key}`)} (${field.key})`)));
  const more = make("input", { id: "compare-values", disabled: true, "aria-describedby": "compare-hint", oninput: () => changed() });
  return make("details", { open: false }, make("summary", {}, text("section.compare")),
    make("p", { class: "hint" }, text("compare_hint")),
    make("div", { class: "field", "data-key": "vary" }, make("label", { for: "compare-key" }, text("compare_key")), key),
    make("div", { class: "field" }, make("label", { for: "compare-values" }, text("compare_values")), more,
      make("p", { class: "hint", id: "compare-hint" }, text("compare_values_hint"))));
}

// Draw the fields again, since another choice of a group has other settings and values
function refresh() {
  const focused = document.activeElement?.id;
  for (const field of FIELDS) {
    const place = document.querySelector(`.field[data-key="${field.key}"]`);
    const value = valueOf(field.key);
    place.hidden = value === undefined;
    if (value !== undefined) place.replaceChildren(...parts(field, value), make("p", { class: "error", id: `error-${field.key}` }));
  }
  if (focused) document.getElementById(focused)?.focus();
}

function change(key, value) {
  if (GROUPS.includes(key)) for (const name of Object.keys(chosen)) if (name.startsWith(`${key}.`)) delete chosen[name];
  delete chosen[key];
  if (JSON.stringify(valueOf(key)) !== JSON.stringify(value)) chosen[key] = value;
  if (GROUPS.includes(key)) refresh();
  changed();
}

function parts(field, value) {
  const { key, kind } = field, id = `field-${key}`;
  const label = make("label", { for: id, title: choices.meanings[key] ?? "" }, text(`field.${key}`));
  const own = { id, "aria-describedby": `error-${key}` };
  if (kind === "slider") return [label, ...slider(field, value, own)];
  if (kind === "group" || kind === "choice") {
    const names = kind === "group" ? Object.keys(choices.groups[key]) : choices.values[key].filter((name) => name !== "null");
    const options = names.map((name) => make("option", { value: name, selected: name === String(value) }, named(key, name)));
    return [label, make("select", { ...own, onchange: (event) => change(key, event.target.value) }, ...options)];
  }
  const stages = kind === "stages";
  const written = stages ? value.map((row) => row.join(" ")).join(" | ") : value.join(" ");
  const input = make("input", { ...own, value: written, inputMode: stages ? "text" : "numeric",
    oninput: () => change(key, stages ? input.value.split("|").map(numbers) : numbers(input.value)) });
  const hint = make("p", { class: "hint" }, text(stages ? "stages_hint" : "numbers_hint"));
  return stages ? [label, input, hint, stageButtons(key, input)] : [label, input, hint];
}

function stageButtons(key, input) {
  const set = (rows) => {
    input.value = rows.map((row) => row.join(" ")).join(" | ");
    change(key, rows);
  };
  const more = () => set([...valueOf(key), [2 * (valueOf(key).at(-1)?.at(-1) || 8)]]);
  const fewer = () => valueOf(key).length > 1 && set(valueOf(key).slice(0, -1));
  return make("div", { class: "buttons" }, make("button", { type: "button", onclick: more }, text("add_stage")),
    make("button", { type: "button", onclick: fewer }, text("remove_stage")));
}

function slider({ key, values }, value, own) {
  const number = Array.isArray(value) ? value[0] : value;
  const distances = values.map((one) => Math.abs(one - number));
  const shown = make("output", { for: own.id }, String(value));
  const input = make("input", { ...own, type: "range", min: 0, max: values.length - 1, step: 1 });
  input.value = distances.indexOf(Math.min(...distances));
  input.setAttribute("aria-valuetext", String(value));
  input.addEventListener("input", () => {
    const now = values[Number(input.value)];
    put(shown, String(now));
    input.setAttribute("aria-valuetext", String(now));
    change(key, now);
  });
  return [shown, input];
}

const named = (key, name) => (hasText(`choice.${key}.${name}`) ? text(`choice.${key}.${name}`) : name);
const numbers = (words) => words.split(/[\s,]+/).filter(Boolean).map((word) => (/^\d+$/.test(word) ? Number(word) : word));

// Show an error next to the field that it is about, else below the form
export function showError(error) {
  for (const place of document.querySelectorAll("#form .error")) put(place, "");
  for (const input of document.querySelectorAll("#form [aria-invalid]")) input.removeAttribute("aria-invalid");
  if (!error) return;
  let key = error.key ?? "";
  while (key && !(document.getElementById(`error-${key}`)?.closest(".field:not([hidden])"))) key = key.split(".").slice(0, -1).join(".");
  const place = document.getElementById(key ? `error-${key}` : "problem");
  put(place, error.message);
  if (key) document.getElementById(`field-${key}`)?.setAttribute("aria-invalid", "true");
  place.closest("details")?.setAttribute("open", "");
}
