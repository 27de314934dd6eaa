"use strict";
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const answers = document.getElementById("answers");
const problem = document.getElementById("error");
const WIDTH = 20;      // of a stroke, px of the canvas
const PAUSE = 100;     // ms from a change to the question about it
const STEP = 8;        // px that an arrow key moves the pen
let drawing = false, last = [140, 140], down = false;   // of the pen
let asked = 0, timer = null, underway = false, changed = false;   // of the questions: one at a time, and then the newest

function clear() {
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  last = [140, 140];
  down = false;
  problem.textContent = "";
  answers.replaceChildren();
  asked += 1;          // what is still on its way is about the old drawing
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
  ask();
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

function ask() {
  changed = true;
  answers.setAttribute("aria-busy", "true");
  if (!underway && !timer) timer = setTimeout(turn, PAUSE);
}

async function turn() {
  timer = null;
  changed = false;
  underway = true;
  await send(await new Promise((done) => canvas.toBlob(done, "image/png")));
  underway = false;
  if (changed) ask();
}

async function send(image) {
  const mine = ++asked;
  const chosen = [...document.querySelectorAll("#runs input:checked")].map((box) => box.value);
  try {
    const found = await Promise.all(chosen.map(async (number) => {
      const reply = await fetch(`runs/${number}`,
        { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: image });
      const content = await reply.json();
      if (!reply.ok) throw new Error(content.error);
      return [number, content];
    }));
    if (mine !== asked) return;
    problem.textContent = "";
    answers.replaceChildren(...found.map(([number, content]) => show(number, content)));
  } catch (error) {
    if (mine === asked) { problem.textContent = error.message; answers.replaceChildren(); }
  }
  if (mine === asked && !changed) answers.setAttribute("aria-busy", "false");
}

// A name as it is, never as HTML, whose direction leaves what stands beside it alone
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
    picture.alt = `feature maps of ${layer.name}`;
    caption.textContent = `${layer.name}: ${layer.maps} feature maps of ${layer.side}×${layer.side}`;
    figure.append(picture, caption);
    article.querySelector(".layers").append(figure);
  }
  return article;
}

async function begin() {
  clear();
  const runs = await (await fetch("runs")).json();
  for (const [number, run] of runs.entries()) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.value = number;
    box.checked = true;
    box.dataset.name = run.name;
    box.addEventListener("change", () => { if (answers.children.length) ask(); });
    label.append(box, " ", isolate(run.name));
    document.getElementById("runs").append(label);
  }
  document.body.dataset.ready = "true";
}
begin();
