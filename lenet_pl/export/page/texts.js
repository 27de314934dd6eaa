// Texts and numbers as the reader sees them.

let texts = {};   // key to text, those of texts.json or of a translation

function say(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
}

function number(value, digits = 2) {
  if (value !== 0 && Math.abs(value) < 10 ** -digits) digits = Math.min(digits + 2, 6);
  return value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−");
}

const percent = (value) => `${(value * 100).toFixed(1)}%`;

function create(tag, { className, text, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
