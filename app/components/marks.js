// Images to mark as belonging to classes. A click shows at once and is told to Python under a number; until Python
// answers that number it is told again with every further one, so that fast clicks are never lost.

const boards = new WeakMap();
const HOLD = 350; // ms in which nobody sees that tiles moved and aims anew
const AWAY = 10; // px that a pointer may move between press and release of a click

const element = (kind, className, text) => {
  const made = document.createElement(kind);
  made.className = className;
  if (text !== undefined) made.textContent = text; // names are text, never HTML
  return made;
};

// Where the tiles are on the screen. What stands above them may grow or go while somebody aims at one, as when another
// tab labels. Then the page is scrolled so that they stay below the pointer; where it cannot be, a click that comes too
// soon after, at the same place, is for the tile that was there before.
class Places {
  constructor(root, tiles) {
    this.root = root;
    this.tiles = tiles;
    this.moves = []; // time, the pointer, and the places before it
    this.pointer = null; // where it is over us
    this.until = 0;
    root.addEventListener("pointermove", (event) => {
      this.pointer = { x: event.x, y: event.y };
      this.watch();
    });
    root.addEventListener("pointerleave", () => (this.pointer = null));
  }

  watch() {
    if (this.until < performance.now()) requestAnimationFrame(() => this.frame());
    this.until = performance.now() + 2000;
  }

  frame() {
    if (!this.tiles.isConnected) return;
    this.look();
    if (this.pointer) this.until = performance.now() + 2000;
    if (performance.now() < this.until) requestAnimationFrame(() => this.frame());
    else this.until = 0;
  }

  measure() {
    const { left, top, width, height } = this.tiles.getBoundingClientRect();
    return { left, top, width, height, scroll: this.scroller().scrollTop, children: [...this.tiles.children] };
  }

  look() {
    const last = this.last;
    let here = this.measure();
    if (last) {
      const alike = Math.abs(here.left - last.left) < 1 && Math.abs(here.width - last.width) < 1
        && here.children.length === last.children.length && here.children.every((one, at) => one === last.children[at]);
      const moved = here.top - last.top;
      const scrolled = Math.abs(moved + here.scroll - last.scroll) < 1; // by the person
      if (this.pointer && alike && Math.abs(moved) >= 1 && !scrolled) {
        this.scroller().scrollTop += moved;
        here = this.measure();
      }
      if (!alike || (Math.abs(here.top - last.top) >= 1 && !scrolled)) {
        this.moves.push({ time: performance.now(), pointer: this.pointer, before: last });
      }
      here.boxes = alike && Math.abs(here.height - last.height) < 1 ? last.boxes : null;
    }
    here.boxes ??= here.children.map((item) => {
      const tile = item.querySelector(".tile");
      const box = tile.getBoundingClientRect();
      return { id: +tile.dataset.id, x: box.x - here.left, y: box.y - here.top, width: box.width, height: box.height };
    });
    this.last = here;
  }

  // The tile that a press is for: its id, null for none of them, undefined where nothing moved and none is there.
  meant(event) {
    this.look();
    this.moves = this.moves.filter((one) => performance.now() - one.time < HOLD);
    // asked again: the page may just have been scrolled back
    const under = this.root.getRootNode().elementFromPoint(event.x, event.y)?.closest(".tile");
    const { pointer, before } = this.moves[0] ?? {};
    if (!pointer || Math.hypot(event.x - pointer.x, event.y - pointer.y) > AWAY) return under ? +under.dataset.id : undefined;
    const x = event.x - before.left, y = event.y - before.top;
    const found = before.boxes.find((box) => x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height);
    return found?.id ?? (under ? null : undefined);
  }

  scroller() {
    let one = this.root;
    while (one && !(one.scrollHeight > one.clientHeight && /auto|scroll/.test(getComputedStyle(one).overflowY))) {
      one = one.parentElement ?? one.getRootNode().host;
    }
    return one ?? document.scrollingElement;
  }
}

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
    this.places = new Places(root, this.tiles);
    root.addEventListener("pointerdown", (event) => {
      this.pressed = event.isPrimary && event.button === 0 ? { x: event.x, y: event.y, id: this.places.meant(event) } : null;
    });
    root.addEventListener("click", (event) => this.click(event), true);
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

  click(event) {
    const pressed = event.detail ? this.pressed : null; // 0: a key, or a program
    this.pressed = null;
    const under = event.target.closest(".tile");
    let id = under ? +under.dataset.id : undefined;
    if (pressed && pressed.id !== undefined) {
      if (Math.hypot(event.x - pressed.x, event.y - pressed.y) > AWAY && pressed.id !== id) return; // pulled away
      id = pressed.id;
      event.preventDefault(); // what lies there now was not meant
    }
    if (id === undefined) return;
    event.stopPropagation();
    if (id !== null) this.toggle(id, this.active);
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
    this.number = Math.max(this.number + 1, Date.now()); // also above what an earlier board of this page told
    this.pending.set(tile.id, { number: this.number, name, content: tile.content });
    this.dress(this.tiles.querySelector(`[data-id="${tile.id}"]`), tile);
    this.tell("mark", { number: this.number, marks: Object.fromEntries(this.pending) });
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
    this.places.watch();
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
