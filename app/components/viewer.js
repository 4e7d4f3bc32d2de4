// One picture over the whole window, and the arrow keys to the others. It shows the thumbnail at once and asks Python
// for the picture itself, and for the next one ahead of time.

const MOST = 24; // large pictures that are kept
const known = new Map(); // id -> what Python said of it
let knownOf = null; // of which collection
const viewers = new WeakMap();
let current = null; // that of the page: Streamlit may have put another element in its place
window.addEventListener("simsiam-view", (event) => {
  if (current?.dialog.isConnected) current.open(event.detail);
});

const copied = async (text) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(text); // secure pages only: https, and this machine
  const field = document.createElement("textarea");
  field.value = text;
  document.activeElement?.getRootNode()?.querySelector?.("dialog")?.append(field);
  if (!field.isConnected) document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("the browser does not copy");
};

class Viewer {
  constructor(dialog) {
    this.dialog = dialog;
    this.image = dialog.querySelector("img");
    this.list = null;
    this.image.addEventListener("load", () => this.enlarge());
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("close", () => {
      if (this.tile) window.dispatchEvent(new CustomEvent("simsiam-viewed", { detail: this.tile.id }));
      this.list = null;
    });
    dialog.querySelector(".room").addEventListener("click", (event) => {
      if (event.target.classList.contains("room")) dialog.close();
    });
    for (const button of dialog.querySelectorAll("button")) {
      button.addEventListener("click", () => this.act(button.dataset.do, button));
    }
  }
  get tile() { return this.list?.tiles[this.list.at]; }
  open(list) {
    this.list = { ...list, marked: new Set(list.marked) };
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.dialog.focus(); // not the first button: Space would go back
    }
    this.show();
  }
  enlarge() {
    // small pictures at three times their size, at most: more would only be blurred
    const { image } = this;
    image.classList.add("filling");
    image.style.maxWidth = `min(100%, ${3 * image.naturalWidth}px)`;
    image.style.maxHeight = `min(100%, ${3 * image.naturalHeight}px)`;
  }
  step(by) {
    const at = this.list.at + by;
    if (at < 0 || at >= this.list.tiles.length) return;
    this.list.at = at;
    this.show();
  }
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.list) return;
    const { at, tiles } = this.list;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1, Home: -at, End: tiles.length - 1 - at };
    if (!(event.key in steps)) return;
    event.preventDefault();
    event.stopPropagation();
    this.step(steps[event.key]);
  }
  async act(what, button) {
    const tile = this.tile;
    if (!tile) return;
    if (what === "back" || what === "on") this.step(what === "on" ? 1 : -1);
    else if (what === "close") this.dialog.close();
    else if (what === "folder") this.tell("folder", tile.id);
    else if (what === "copy") {
      const before = button.textContent;
      button.textContent = await copied(tile.path).then(() => "Copied", () => tile.path);
      setTimeout(() => { button.textContent = before; }, 2000);
    } else if (what === "mark") {
      const { marked } = this.list;
      marked.has(tile.id) ? marked.delete(tile.id) : marked.add(tile.id);
      this.acting("mark", tile.id);
      this.show();
    } else {
      this.list = null;
      this.dialog.close();
      this.acting(what, tile.id);
    }
  }
  show() {
    const { tile, list } = this;
    const found = known.get(tile.id);
    this.acting = list.act;
    this.image.hidden = !(found?.source || tile.source);
    this.image.src = found?.source || tile.source || "";
    this.image.alt = tile.name;
    nameInto(this.dialog.querySelector(".name"), tile.name);
    const place = list.tiles.length > 1 ? `${list.at + 1} of ${list.tiles.length}` : "";
    this.dialog.querySelector(".facts").textContent = [place, tile.note, found?.facts].filter(Boolean).join(" · ");
    this.end("back", list.at === 0);
    this.end("on", list.at === list.tiles.length - 1);
    this.dialog.querySelector('[data-do="folder"]').hidden = !this.folders;
    for (const one of ["pick", "mark"]) this.dialog.querySelector(`[data-do="${one}"]`).hidden = !list.act;
    const mark = this.dialog.querySelector('[data-do="mark"]');
    mark.textContent = list.marked?.has(tile.id) ? "Marked ✓" : "Mark";
    mark.setAttribute("aria-pressed", String(Boolean(list.marked?.has(tile.id))));
    if (!found) this.ask(tile.id);
    else if (list.tiles[list.at + 1] && !known.has(list.tiles[list.at + 1].id)) this.ask(list.tiles[list.at + 1].id);
  }
  end(what, reached) {
    const button = this.dialog.querySelector(`[data-do="${what}"]`);
    // a button that is switched off gets no keys, and the arrow keys must go on
    if (reached && this.dialog.getRootNode().activeElement === button) this.dialog.focus();
    button.disabled = reached;
  }
  told(picture) {
    if (picture.of !== knownOf) known.clear();
    knownOf = picture.of;
    if (picture.id === null) return;
    if (known.size >= MOST) known.delete(known.keys().next().value);
    known.set(picture.id, picture);
    if (this.tile) this.show(); // of the next one, too: it may be the turn of another now
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const dialog = parentElement.querySelector("dialog");
  if (!viewers.has(dialog)) viewers.set(dialog, new Viewer(dialog));
  const viewer = viewers.get(dialog);
  current = viewer;
  viewer.folders = data.folders;
  viewer.ask = (id) => setTriggerValue("ask", id);
  viewer.tell = setTriggerValue;
  viewer.told(data);
}
