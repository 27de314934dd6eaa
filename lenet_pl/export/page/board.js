// The drawing board: pointer and keyboard draw dark on white, and a picture can be put on it.

const PEN = 20, STEP = 8, MARGIN = 10;   // canvas px: width of the pen, one arrow key, distance to the border

function createBoard(canvas, marker, { changed, cleared, announce }) {
  const pen = canvas.getContext("2d", { willReadFrequently: true }), { width, height } = canvas;
  let last = [width / 2, height / 2], pressed = false, lowered = false, exact = null, empty = true;

  function clear() {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, height);
    [last, lowered, exact, empty] = [[width / 2, height / 2], false, null, true];
    showPen();
    cleared();
  }

  function line(to) {
    pen.strokeStyle = "#000";
    pen.lineWidth = PEN;
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    [last, exact, empty] = [to, null, false];
    changed();
  }

  function showPen() {
    marker.hidden = document.activeElement !== canvas || !canvas.matches(":focus-visible");
    marker.style.left = `${(100 * last[0]) / width}%`;
    marker.style.top = `${(100 * last[1]) / height}%`;
    marker.classList.toggle("down", lowered);
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * width) / box.width, ((event.clientY - box.top) * height) / box.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    pressed = true;
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    line(last);
  });
  canvas.addEventListener("pointermove", (event) => pressed && line(at(event)));
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { pressed = false; });
  for (const change of ["focus", "blur"]) canvas.addEventListener(change, showPen);
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (move) {
      const to = last.map((place, axis) => Math.min(width - MARGIN, Math.max(MARGIN, place + move[axis])));
      if (lowered) line(to);
      last = to;
    } else if (event.key === " ") {
      lowered = !lowered;
      if (lowered) line(last);
      announce(say(lowered ? "pen_down" : "pen_up"));
    } else if (event.key === "Escape") clear();
    else return;
    event.preventDefault();
    showPen();
  });

  function read(context, wide, high) {
    const { data } = context.getImageData(0, 0, wide, high), pixels = new Uint8Array(3 * wide * high);
    for (let k = 0; k < pixels.length; k++) pixels[k] = data[4 * Math.floor(k / 3) + (k % 3)];
    return { width: wide, height: high, pixels };
  }

  // Show a picture on the board. One in the size of the training images is kept pixel by pixel.
  function show(picture, side) {
    clear();
    const [wide, high] = [picture.width, picture.height], scale = Math.min(width / wide, height / high);
    const size = Math.min(1, 1024 / Math.max(wide, high));
    const copy = create("canvas"), context = copy.getContext("2d", { willReadFrequently: true });
    [copy.width, copy.height] = [wide, high].map((length) => Math.max(1, Math.round(length * size)));
    context.fillStyle = "#fff";
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(picture, 0, 0, copy.width, copy.height);
    exact = read(context, copy.width, copy.height);
    empty = false;
    pen.imageSmoothingEnabled = wide !== side;
    pen.drawImage(picture, (width - wide * scale) / 2, (height - high * scale) / 2, wide * scale, high * scale);
    changed();
  }

  clear();
  return { clear, show, picture: () => (empty ? null : exact ?? read(pen, width, height)) };
}

// Open a file as a picture; rejects what the browser cannot decode.
async function openPicture(file) {
  const address = URL.createObjectURL(file), picture = new Image();
  picture.src = address;
  try {
    await picture.decode();
    if (!picture.naturalWidth) throw new Error("a drawing without a size");
  } finally {
    URL.revokeObjectURL(address);
  }
  return picture;
}
