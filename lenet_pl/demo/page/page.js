"use strict";
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const answers = document.getElementById("answers");
const problem = document.getElementById("error");
const WIDTH = 20;      // stroke width, canvas px
const DELAY = 100;     // ms between a change of the drawing and its request
const STEP = 8;        // pen movement per arrow key, canvas px
let drawing = false, last = [140, 140], down = false;   // pen: pointer pressed, position, lowered by keyboard
let latest = 0, timer = null, pending = false, changed = false;   // one request at a time, then one for the newest drawing

function clear() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  last = [140, 140];
  down = false;
  problem.textContent = "";
  answers.replaceChildren();
  latest += 1;         // drops the reply to a pending request
  changed = false;
  clearTimeout(timer);
  timer = null;
  answers.setAttribute("aria-busy", "false");
}

function line(from, to) {
  pen.strokeStyle = "#000";
  pen.lineWidth = WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
  schedule();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

canvas.addEventListener("pointerdown", (event) => {
  drawing = true;
  canvas.setPointerCapture(event.pointerId);
  last = place(event);
  line(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  const to = place(event);
  line(last, to);
  last = to;
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drawing = false; });

canvas.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (move) {
    const to = last.map((value, axis) => Math.min(270, Math.max(10, value + move[axis])));
    if (down) line(last, to);
    last = to;
  } else if (event.key === " ") {
    down = !down;
    if (down) line(last, last);
  } else if (event.key === "Escape") clear();
  else return;
  event.preventDefault();
});

document.getElementById("clear").addEventListener("click", clear);
document.getElementById("file").addEventListener("change", (event) => {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  clear();
  answers.setAttribute("aria-busy", "true");
  send(file);
});

function schedule() {
  changed = true;
  answers.setAttribute("aria-busy", "true");
  if (!pending && !timer) timer = setTimeout(classifyDrawing, DELAY);
}

async function classifyDrawing() {
  timer = null;
  changed = false;
  pending = true;
  await send(await new Promise((done) => canvas.toBlob(done, "image/png")));
  pending = false;
  if (changed) schedule();
}

async function send(image) {
  const request = ++latest;
  const chosen = [...document.querySelectorAll("#runs input:checked")].map((box) => box.value);
  try {
    const predictions = await Promise.all(chosen.map(async (number) => {
      const reply = await fetch(`runs/${number}`,
        { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: image });
      const content = await reply.json();
      if (!reply.ok) throw new Error(content.error);
      return [number, content];
    }));
    if (request !== latest) return;
    problem.textContent = "";
    answers.replaceChildren(...predictions.map(([number, content]) => show(number, content)));
  } catch (error) {
    if (request === latest) { problem.textContent = error.message; answers.replaceChildren(); }
  }
  if (request === latest && !changed) answers.setAttribute("aria-busy", "false");
}

// Show a name as plain text, never as HTML, and isolate its writing direction from the surrounding text
function isolate(name) {
  const element = document.createElement("bdi");
  element.textContent = name;
  return element;
}

function show(number, content) {
  const article = document.getElementById("answer").content.cloneNode(true).firstElementChild;
  const [first] = content.classes;
  article.querySelector("h2 bdi").textContent = document.querySelector(`#runs input[value="${number}"]`).dataset.name;
  article.querySelector(".verdict").replaceChildren(isolate(first.name), ` (${(first.probability * 100).toFixed(1)}%)`);
  article.querySelector(".note").textContent = content.notes.join("; ");
  article.dataset.predicted = first.name;
  for (const { name, probability } of content.classes.slice(0, 10)) {
    const row = document.createElement("li"), label = isolate(name);
    const bar = document.createElement("progress"), value = document.createElement("span");
    label.title = name;
    bar.value = probability;
    bar.setAttribute("aria-label", name);
    value.textContent = `${(probability * 100).toFixed(1)}%`;
    row.append(label, bar, value);
    article.querySelector(".classes").append(row);
  }
  for (const picture of article.querySelectorAll(".input")) picture.src = content.input;
  if (content.grad_cam) article.querySelector(".heat").src = content.grad_cam;
  else article.querySelector(".cam").remove();
  for (const layer of content.layers) {
    const figure = document.createElement("figure"), picture = document.createElement("img");
    const caption = document.createElement("figcaption");
    picture.src = layer.picture;
    picture.alt = `Feature maps of ${layer.name}`;
    caption.textContent = `${layer.name}: ${layer.maps} feature maps of ${layer.side}×${layer.side}`;
    figure.append(picture, caption);
    article.querySelector(".layers").append(figure);
  }
  return article;
}

async function start() {
  clear();
  const runs = await (await fetch("runs")).json();
  for (const [number, run] of runs.entries()) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.value = number;
    box.checked = true;
    box.dataset.name = run.name;
    box.addEventListener("change", () => { if (answers.children.length) schedule(); });
    label.append(box, " ", isolate(run.name));
    document.getElementById("runs").append(label);
  }
  document.body.dataset.ready = "true";
}
start();
