// Filters, feature maps, gradients and confusion matrix of a training.

import { make, put } from "./element.js";
import { text } from "./texts.js";

const SMALLEST = -6, LARGEST = 2; // decimal logarithms of the gradient norms that are shown

export function makeViews(action) {
  const filters = { first: picture(), now: picture(), caption: make("figcaption") };
  const chooser = make("div", { class: "chooser" }), maps = make("div", { class: "maps" });
  const gradients = make("ul", { class: "gradients" }), confusion = make("table", { class: "confusion" });
  const captioned = (image, caption) => make("figure", {}, caption, image);
  const choose = make("details", {}, make("summary", {}, text("choose_images")), chooser);
  const element = make("div", { class: "views", hidden: true },
    make("section", { class: "filters" }, make("h4", {}, text("filters")), make("div", { class: "pair" },
      captioned(filters.first, make("figcaption", {}, text("filters_start"))), captioned(filters.now, filters.caption))),
    make("section", { class: "gradient-norms" }, make("h4", {}, text("gradients")), gradients),
    make("section", { class: "wide" }, make("h4", {}, text("maps")), choose, maps),
    make("section", { class: "wide" }, make("h4", {}, text("confusion")), make("p", { class: "hint" }, text("confusion_hint")),
      make("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": text("confusion") }, confusion)));

  function update({ state, view }, news) {
    if (news.state?.thumbnails) showChooser(chooser, state, action);
    if (news.state?.confusion) showConfusion(confusion, state);
    put(element, !view, "hidden");
    if (!view) return;
    if (news.view) {
      put(filters.first, state.first_filters ?? view.filters, "src");
      put(filters.first, text("filters_start"), "alt");
      put(filters.now, view.filters, "src");
      put(filters.caption, text("filters_now", { step: view.step }));
      put(filters.now, filters.caption.textContent, "alt");
      showMaps(maps, view, state);
      showGradients(gradients, view.gradients);
    }
    for (const box of chooser.querySelectorAll("input")) put(box, view.images.some(({ index }) => index === Number(box.value)), "checked");
  }
  return { element, update };
}

const picture = () => make("img", { class: "pixels", alt: "" });

function showChooser(place, { thumbnails, labels, classes }, action) {
  place.replaceChildren(...thumbnails.map((src, index) => {
    const box = make("input", { type: "checkbox", value: index, "aria-label": text("image", { index, label: classes[labels[index]] }) });
    box.addEventListener("change", () => {
      const chosen = [...place.querySelectorAll("input:checked")].map((one) => Number(one.value));
      action("images", box.checked ? [index, ...chosen.filter((one) => one !== index)].slice(0, 4) : chosen);
    });
    return make("label", {}, box, make("img", { src, alt: "", class: "pixels" }));
  }));
}

function showMaps(place, view, { thumbnails, classes, labels }) {
  if (place.children.length !== view.images.length) {
    place.replaceChildren(...view.images.map(() => make("article", {}, make("p", {}, picture(), make("bdi", {})))));
  }
  view.images.forEach((image, row) => {
    const article = place.children[row], { index, predicted, probability } = image;
    put(article.querySelector("p img"), thumbnails[index], "src");
    put(article.querySelector("bdi"), text("maps_of", {
      predicted: classes[predicted], probability: (100 * probability).toFixed(1), label: classes[labels[index]],
    }));
    article.classList.toggle("wrong", predicted !== labels[index]);
    image.layers.forEach((layer, k) => {
      const figure = article.children[k + 1] ?? article.appendChild(make("figure", {}, picture(), make("figcaption", {})));
      put(figure.firstChild, layer.picture, "src");
      put(figure.firstChild, text("maps_alt", { layer: layer.name, index }), "alt");
      put(figure.lastChild, text("maps_caption", { layer: layer.name, maps: layer.maps, side: layer.side }));
    });
  });
}

function showGradients(place, gradients) {
  if (place.children.length !== gradients.length) {
    place.replaceChildren(...gradients.map(() => make("li", {}, make("span", {}), make("i", { "aria-hidden": "true" }, make("i", {})), make("b", {}))));
  }
  gradients.forEach(({ name, norm }, row) => {
    const [label, bar, value] = place.children[row].children;
    const share = (Math.log10(Math.max(norm, 1e-12)) - SMALLEST) / (LARGEST - SMALLEST);
    put(label, name.split(".").at(-1));
    bar.firstChild.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    put(value, norm.toPrecision(3));
  });
}

function showConfusion(table, { confusion, classes }) {
  if (table.rows.length !== confusion.length + 1) {
    const head = make("tr", {}, make("td", {}), ...classes.map((name) => make("th", { scope: "col" }, make("bdi", {}, name))));
    const rows = classes.map((name) => make("tr", {}, make("th", { scope: "row" }, make("bdi", {}, name)), ...classes.map(() => make("td", {}))));
    table.replaceChildren(make("tbody", {}, head, ...rows));
  }
  confusion.forEach((counts, row) => {
    const total = counts.reduce((sum, count) => sum + count, 0) || 1;
    counts.forEach((count, column) => {
      const cell = table.rows[row + 1].cells[column + 1];
      put(cell, count ? String(count) : "·");
      const strength = Math.round((100 * count) / total);
      const color = row === column ? "var(--right)" : "var(--wrong)";
      cell.style.background = count ? `color-mix(in srgb, ${color} ${Math.min(60, 12 + strength / 2)}%, transparent)` : "";
    });
  });
}
