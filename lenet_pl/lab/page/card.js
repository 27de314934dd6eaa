// The card of a training: its state, what can be done with it, and what its network looks like.

import { post } from "./api.js";
import { make, put } from "./element.js";
import { text } from "./texts.js";
import { makeViews } from "./views.js";

const RUNNING = ["starting", "training", "paused", "testing"];
const SPEEDS = [null, 200, 50, 20, 5, 1];

export const isRunning = (state) => RUNNING.includes(state.status);

export class Card {
  // `oncreated` is called with the name of a run that was made from this one
  constructor(name, oncreated) {
    this.name = name;
    this.oncreated = oncreated;
    this.views = makeViews((action, value) => this.action(action, value));
    this.title = make("b", {});
    this.status = make("span", { class: "status" });
    this.progress = make("progress", { max: 1, "aria-hidden": "true" });
    this.figures = make("p", { class: "figures" });
    this.error = make("p", { class: "error", role: "alert" });
    this.changes = make("p", { class: "hint" });
    this.command = make("pre", { tabIndex: 0, "aria-label": text("command") });
    this.element = make("details", { class: "card", id: `run-${name}`, "data-name": name },
      make("summary", {}, this.title, " ", this.status), this.progress, this.figures, this.controls(), this.error, this.changes,
      this.views.element, this.command);
  }

  button(key, action, value = () => null) {
    const button = make("button", { type: "button", "data-action": action, onclick: () => this.action(action, value()) }, text(key));
    return (this[key] = button);
  }

  controls() {
    const id = (what) => `${what}-${this.name}`;
    this.count = make("input", { type: "number", min: 1, max: 100000, value: 1, id: id("steps") });
    this.speed = make("select", { id: id("speed"), onchange: () => this.action("speed", JSON.parse(this.speed.value)) },
      ...SPEEDS.map((speed) => make("option", { value: JSON.stringify(speed) }, speed ? text("speed_value", { speed }) : text("speed_full"))));
    this.lr = make("input", { type: "number", min: 0, max: 1000, step: "any", id: id("lr") });
    this.epoch = make("select", { id: id("epoch") });
    const labeled = (key, input, ...more) => make("span", { class: "labeled" }, make("label", { for: input.id }, text(key)), input, ...more);
    return make("div", { class: "controls" },
      make("div", { class: "buttons" }, this.button("pause", "pause"), this.button("go", "go"),
        this.button("step", "step", () => Number(this.count.value)), this.button("stop", "stop"), this.button("kill", "kill"),
        this.button("resume", "resume")),
      this.live = make("div", { class: "buttons" }, labeled("steps", this.count), labeled("speed", this.speed),
        labeled("lr", this.lr, this.button("set", "lr", () => Number(this.lr.value)))),
      this.back = make("div", { class: "buttons" }, labeled("rewind", this.epoch,
        this.button("rewind_button", "rewind", () => Number(this.epoch.value)))));
  }

  async action(action, value) {
    put(this.error, "");
    try {
      const { name } = await post(`runs/${this.name}`, { action, value });
      if (name !== this.name) this.oncreated(name);
    } catch (error) {
      put(this.error, error.message);
    }
  }

  update(run, news) {
    const { state, rows } = run, running = isRunning(state);
    put(this.title, `${this.name} ${state.label}`);
    put(this.status, text(`status.${state.status}`));
    put(this.element.dataset, state.status, "status");
    this.progress.hidden = !running;
    if (state.epochs) this.progress.value = Math.min(1, rows.length / state.epochs);
    const last = rows.at(-1), scored = last?.["val/accuracy"] !== undefined;
    const scores = scored ? text("scores", { accuracy: last["val/accuracy"].toFixed(4), loss: last["val/loss"].toFixed(4) }) : "";
    const at = { step: state.step ?? last?.step ?? 0, epoch: rows.length, epochs: state.epochs ?? rows.length };
    put(this.figures, [text("progress", at), scores].filter(Boolean).join("; "));
    if (news.state && "error" in news.state) put(this.error, state.error ?? "");
    this.showControls(state, running);
    if (news.state?.lr !== undefined && document.activeElement !== this.lr) put(this.lr, String(state.lr), "value");
    if (news.state && "speed" in news.state) put(this.speed, JSON.stringify(state.speed), "value");
    const changes = (state.lr_changes ?? []).map(({ lr, step }) => text("lr_change", { lr, step })).join(", ");
    put(this.changes, changes ? text("lr_changed", { changes }) : "");
    if (news.state?.snapshots) this.showEpochs(state.snapshots);
    put(this.command, state.command ?? "");
    this.command.hidden = !state.command;
    this.views.update(run, news);
  }

  showControls(state, running) {
    const paused = state.status === "paused", live = paused || state.status === "training";
    const shown = { pause: state.status === "training", go: paused, step: live, stop: running, kill: running,
      resume: ["stopped", "killed"].includes(state.status) };
    for (const [key, visible] of Object.entries(shown)) {
      const lost = this[key].hidden !== !visible && document.activeElement === this[key];
      put(this[key], !visible, "hidden");
      if (lost) (paused ? this.go : this.pause).focus(); // the button that takes its place
    }
    put(this.live, !live, "hidden");
    put(this.back, !state.snapshots?.length, "hidden");
  }

  showEpochs(epochs) {
    const before = this.epoch.value, last = this.epoch.options[this.epoch.options.length - 1]?.value;
    this.epoch.replaceChildren(...epochs.map((epoch) => make("option", { value: epoch }, String(epoch))));
    const kept = before !== last && epochs.map(String).includes(before); // an epoch that was chosen
    this.epoch.value = kept ? before : String(epochs.at(-1));
  }
}
