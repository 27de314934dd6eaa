// Make elements. Texts are always text, never HTML.

export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  apply(element, properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function draw(name, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function apply(element, properties) {
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class" || key === "for" || key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
}

// Change a text or a property only if it differs, so that nothing is painted or read out again for nothing
export function put(element, value, property = "textContent") {
  if (element[property] !== value) element[property] = value;
}
