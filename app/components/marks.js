// Images to mark as belonging to classes. A click shows at once and is told to Python under a number; until Python
// answers that number it is told again with every further one, so that fast clicks are never lost.

const boards = new WeakMap();

const element = (kind, className, text) => {
  const made = document.createElement(kind);
  made.className = className;
  if (text !== undefined) made.textContent = text; // names are text, never HTML
  return made;
};

class Board {
  constructor(root) {
    this.root = root;
    this.classes = root.querySelector(".classes");
    this.tiles = root.querySelector(".tiles");
    this.hint = root.querySelector(".hint");
    this.pending = new Map(); // id -> number and class, or null for none: told, not yet answered
    this.number = 0;
    this.active = null;
    this.said = 0;
    this.tiles.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this.toggle(+tile.dataset.id, this.active);
    });
    this.tiles.addEventListener("keydown", (event) => this.key(event));
  }

  update(data, tell) {
    this.tell = tell;
    const names = data.classes.map((one) => one.name);
    if (data.said !== this.said || !names.includes(this.active)) {
      this.active = names.includes(data.active) ? data.active : (names[0] ?? null);
      this.said = data.said;
    }
    for (const [id, mark] of this.pending) if (mark.number <= data.answered) this.pending.delete(id);
    this.number = Math.max(this.number, data.answered); // we may be new on a page that was here before
    this.data = data;
    this.draw();
  }

  label(tile) {
    return this.pending.has(tile.id) ? this.pending.get(tile.id).name : tile.label;
  }

  toggle(id, name) {
    const tile = this.data.tiles.find((one) => one.id === id);
    this.hint.hidden = name !== null;
    if (!tile || name === null) return;
    this.set(tile, this.label(tile) === name ? null : name);
  }

  set(tile, name) {
    this.number += 1;
    this.pending.set(tile.id, { number: this.number, name });
    this.dress(this.tiles.querySelector(`[data-id="${tile.id}"]`), tile);
    const marks = Object.fromEntries([...this.pending].map(([id, mark]) => [id, mark.name]));
    this.tell("mark", { number: this.number, marks });
  }

  key(event) {
    const tile = event.target.closest(".tile");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...this.tiles.querySelectorAll(".tile")];
    const row = all.filter((one) => one.offsetTop === all[0].offsetTop && one.parentElement.offsetTop === all[0].parentElement.offsetTop).length;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row }[event.key];
    const shown = this.data.tiles.find((one) => one.id === +tile.dataset.id);
    const name = /^[1-9]$/.test(event.key) ? this.data.classes[event.key - 1]?.name : undefined;
    if (step) all[all.indexOf(tile) + step]?.focus();
    else if (name !== undefined) {
      this.set(shown, name);
      all[all.indexOf(tile) + 1]?.focus(); // so that one key labels one image
    } else if (event.key === "Delete" || event.key === "Backspace") this.set(shown, null);
    else return;
    event.preventDefault();
  }

  dress(button, tile) {
    const label = this.label(tile);
    const colour = this.data.classes.find((one) => one.name === label)?.colour ?? "transparent";
    button.classList.toggle("marked", label !== null);
    button.style.setProperty("--mark", colour);
    button.setAttribute("aria-pressed", String(label !== null));
    button.setAttribute("aria-label", [tile.name, label === null ? "no label" : `labelled ${label}`, tile.note].filter(Boolean).join(", "));
    button.querySelector(".dot").style.background = colour;
    button.querySelector(".who").textContent = label ?? "";
  }

  draw() {
    const { data } = this;
    const scope = this.tiles.getRootNode();
    const focused = scope.activeElement?.dataset?.id;
    if (data.classes.length) this.hint.hidden = true;
    this.classes.replaceChildren(
      ...data.classes.map((one, number) => {
        const button = element("button", "");
        button.type = "button";
        button.setAttribute("role", "radio");
        button.setAttribute("aria-checked", String(one.name === this.active));
        button.title = number < 9 ? `${one.name} (key ${number + 1})` : one.name;
        const dot = element("span", "dot");
        dot.style.background = one.colour;
        button.append(dot, element("span", "who", one.name), element("span", "count", one.count.toLocaleString("en")));
        if (number < 9) button.append(element("span", "key", String(number + 1)));
        button.addEventListener("click", () => {
          this.active = one.name;
          for (const other of this.classes.children) other.setAttribute("aria-checked", String(other === button));
        });
        return button;
      }),
    );
    const shown = JSON.stringify(data.tiles.map((tile) => [tile.id, tile.source.length]));
    if (shown !== this.shown) {
      if (this.shown && this.root.getBoundingClientRect().top < 0) this.root.scrollIntoView({ block: "start" });
      this.shown = shown;
      this.tiles.replaceChildren(...data.tiles.map((tile) => this.tile(tile)));
    }
    this.tiles.setAttribute("aria-label", data.label);
    for (const tile of data.tiles) {
      const button = this.tiles.querySelector(`[data-id="${tile.id}"]`);
      this.dress(button, tile);
      button.parentElement.querySelector(".note").textContent = tile.note;
    }
    if (focused) this.tiles.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
  }

  tile(tile) {
    const button = element("button", "tile");
    button.type = "button";
    button.dataset.id = tile.id;
    button.title = tile.path;
    if (tile.source) button.append(Object.assign(element("img", ""), { src: tile.source, alt: "", draggable: false }));
    const badge = element("span", "badge");
    badge.append(element("span", "dot"), element("span", "who"));
    button.append(badge);
    const name = Object.assign(nameInto(element("a", "name"), tile.name), { href: tile.link, target: "_blank" });
    name.title = `Show ${tile.name} and its neighbours in a new tab`;
    const item = element("li", "");
    item.append(button, name, element("div", "note"));
    return item;
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".teach");
  if (!boards.has(root)) boards.set(root, new Board(root));
  boards.get(root).update(data, setTriggerValue);
}
