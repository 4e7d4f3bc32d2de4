// A picture on which a part can be drawn. A mouse draws at once; a finger draws after "Draw a part", because it scrolls
// the page otherwise. Python gets the parts in pixels of the whole picture.

const SMALLEST = 8; // pixels on the screen; a shorter drag is a click
const parts = new WeakMap();

class Part {
  constructor(root) {
    this.root = root;
    this.stage = root.querySelector(".stage");
    this.image = root.querySelector("img");
    this.boxes = root.querySelector(".boxes");
    this.form = root.querySelector("form");
    this.mode = { draw: false, add: false };
    this.from = null;
    this.stage.addEventListener("pointerdown", (event) => this.down(event));
    this.stage.addEventListener("pointermove", (event) => this.move(event));
    this.stage.addEventListener("pointerup", (event) => this.up(event));
    this.stage.addEventListener("pointercancel", () => this.drop());
    this.form.addEventListener("submit", (event) => this.submit(event));
    for (const button of root.querySelectorAll(".tools button")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") this.drop(); });
  }

  show(data, tell) {
    this.data = data;
    this.tell = tell;
    this.stage.style.width = data.wide;
    if (this.image.src !== data.source) this.image.src = data.source;
    this.image.alt = data.name;
    this.mode = { draw: false, add: false };
    this.from = null;
    const [width, height] = data.size;
    const { left, top, width: across, height: down } = this.form.elements;
    const [x, y, w, h] = data.boxes.at(-1) ?? [0, 0, width, height];
    [left.value, top.value, across.value, down.value] = [x, y, w, h];
    [left.max, top.max, across.max, down.max] = [width - 1, height - 1, width, height];
    this.draw();
  }

  draw(extra = null) {
    const [width, height] = this.data.size;
    const kept = extra && !this.mode.add ? [] : this.data.boxes;
    const all = extra ? [...kept, extra] : kept;
    this.boxes.replaceChildren(...all.map(([x, y, w, h]) => {
      const box = document.createElement("div");
      box.className = "box";
      Object.assign(box.style, {
        left: `${(100 * x) / width}%`, top: `${(100 * y) / height}%`,
        width: `${(100 * w) / width}%`, height: `${(100 * h) / height}%`,
      });
      return box;
    }));
    this.stage.classList.toggle("drawing", this.mode.draw || this.mode.add);
    const any = this.data.boxes.length > 0;
    for (const button of this.root.querySelectorAll(".tools button")) {
      const name = button.dataset.do;
      if (name in this.mode) button.setAttribute("aria-pressed", String(this.mode[name]));
      if (name === "whole") button.hidden = !any;
      if (name === "add") button.hidden = !any || this.data.boxes.length >= this.data.most;
      if (name === "draw") button.textContent = any ? "Draw another part" : "Draw a part";
    }
  }

  act(name) {
    if (name === "whole") return this.tell([]);
    const on = !this.mode[name];
    this.mode = { draw: false, add: false, [name]: on };
    this.draw();
  }

  at(event) {
    const place = this.image.getBoundingClientRect();
    const share = (value, from, length) => Math.min(1, Math.max(0, (value - from) / length));
    return [share(event.clientX, place.left, place.width), share(event.clientY, place.top, place.height)];
  }

  down(event) {
    const drawing = this.mode.draw || this.mode.add;
    if (event.button !== 0 || (event.pointerType !== "mouse" && !drawing)) return;
    event.preventDefault();
    this.from = { x: event.clientX, y: event.clientY, at: this.at(event), pointer: event.pointerId };
    this.stage.setPointerCapture(event.pointerId);
  }

  boxTo(event) {
    const [width, height] = this.data.size;
    const [x, y] = this.at(event);
    const left = Math.round(Math.min(x, this.from.at[0]) * width);
    const top = Math.round(Math.min(y, this.from.at[1]) * height);
    const right = Math.round(Math.max(x, this.from.at[0]) * width);
    const bottom = Math.round(Math.max(y, this.from.at[1]) * height);
    return [left, top, right - left, bottom - top];
  }

  isDrag(event) {
    return Math.abs(event.clientX - this.from.x) >= SMALLEST && Math.abs(event.clientY - this.from.y) >= SMALLEST;
  }

  move(event) {
    if (this.from?.pointer === event.pointerId) this.draw(this.isDrag(event) ? this.boxTo(event) : null);
  }

  up(event) {
    if (this.from?.pointer !== event.pointerId) return;
    const box = this.isDrag(event) ? this.boxTo(event) : null;
    this.from = null;
    if (box && box[2] > 0 && box[3] > 0) this.search(box);
    else this.draw();
  }

  drop() {
    if (!this.root.isConnected || !this.data) return;
    this.from = null;
    this.mode = { draw: false, add: false };
    this.draw();
  }

  search(box) {
    this.draw(box); // stays until Python answers
    this.tell(this.mode.add ? [...this.data.boxes, box].slice(-this.data.most) : [box]);
  }

  submit(event) {
    event.preventDefault();
    const [width, height] = this.data.size;
    const { left, top, width: across, height: down } = this.form.elements;
    const [x, y] = [Math.min(+left.value, width - 1), Math.min(+top.value, height - 1)];
    this.search([x, y, Math.min(+across.value, width - x), Math.min(+down.value, height - y)]);
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".part");
  if (!parts.has(root)) parts.set(root, new Part(root));
  parts.get(root).show(data, (boxes) => setTriggerValue("boxes", boxes));
}
