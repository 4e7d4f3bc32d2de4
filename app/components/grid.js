// A grid of images. A plain click tells Python, so that the session goes on; with Ctrl, Shift or the middle button the
// link opens a tab of its own, as links do.

const places = new Map(); // what was shown -> how far it was scrolled
let shown = null;
let wentBack = false;
let last = null; // id that was marked last: where a range begins
window.addEventListener("popstate", () => { wentBack = true; });

let grid = null; // the one that is shown
window.addEventListener("simsiam-viewed", (event) => {
  grid?.querySelector(`a[data-id="${event.detail}"]`)?.focus(); // of the picture that was looked at last
});

// A picture in the clipboard is a query, wherever on the page it is pasted but into a field.
const paste = { to: null, most: 0 };
window.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  const field = event.target?.closest?.("input, textarea, [contenteditable]");
  if (!file || field || !paste.to) return;
  event.preventDefault();
  if (file.size > paste.most) {
    paste.to(file.size); // Python says so
    return;
  }
  const reader = new FileReader();
  reader.onload = () => paste.to(String(reader.result).split(",", 2)[1]);
  reader.readAsDataURL(file);
});

// The uploader shows only a red mark at a file that is too large; Python says it in words.
const tooLarge = (files) => {
  const size = Math.max(0, ...[...(files ?? [])].map((one) => one.size));
  if (paste.to && size > paste.most) paste.to(size);
};
window.addEventListener("change", (event) => { if (event.target?.type === "file") tooLarge(event.target.files); }, true);
window.addEventListener("drop", (event) => tooLarge(event.dataTransfer?.files), true);

const element = (kind, className, text) => {
  const made = document.createElement(kind);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const ARROWS = "M9 3H3v6M3 3l7 7M15 21h6v-6M21 21l-7-7";

const large = () => {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ARROWS);
  drawing.append(path);
  return drawing;
};

const BUTTONS = [
  { name: "mark", sign: "✓", says: "Mark", hint: "Mark; with Shift, all up to here" },
  { name: "view", sign: "", says: "Show large", hint: "Show large" },
  { name: "more", sign: "+", says: "More like", hint: "More like this" },
  { name: "less", sign: "−", says: "Less like", hint: "Less like this" },
];

const toolsOf = (tile, state, act) => {
  const tools = element("div", "tools");
  for (const { name, sign, says, hint } of BUTTONS) {
    if (name === "less" && !state.refining) continue;
    const button = element("button", name, sign);
    if (!sign) button.append(large());
    button.type = "button";
    button.title = hint;
    button.setAttribute("aria-label", `${says} ${tile.name}`);
    if (name === "mark") button.setAttribute("aria-pressed", String(state.marked.has(tile.id)));
    button.addEventListener("click", (event) => act(name, tile.id, event.shiftKey));
    tools.append(button);
  }
  return tools;
};

const countOf = (tile, act) => {
  const button = element("button", "count", tile.opened ? "Fold" : `+${tile.alike}`);
  button.type = "button";
  button.title = tile.opened ? "Fold them again" : `${tile.alike} more like this one; show them`;
  button.setAttribute("aria-label", `${button.title}: ${tile.name}`);
  button.setAttribute("aria-expanded", String(tile.opened));
  button.addEventListener("click", () => act("fold", tile.id));
  return button;
};

const tileOf = (tile, state, act) => {
  const link = element("a", tile.weak ? "tile weak" : "tile");
  link.href = tile.link;
  link.title = tile.path;
  link.setAttribute("aria-label", tile.label);
  link.dataset.id = tile.id;
  const frame = element("div", "frame");
  if (tile.source) {
    const image = element("img", "");
    image.alt = tile.name;
    image.src = tile.source;
    image.draggable = false;
    frame.append(image);
  }
  if (tile.box) { // the whole picture is shown, with the part that was found
    frame.classList.add("whole");
    const box = element("div", "box");
    ["left", "top", "width", "height"].forEach((side, at) => { box.style[side] = `${tile.box[at]}%`; });
    frame.append(box);
  }
  link.append(frame, nameInto(element("div", "name"), tile.name), element("div", "note", tile.note));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button !== 0) return;
    event.preventDefault();
    act("pick", tile.id);
  });
  const kinds = [state.marked.has(tile.id) && "marked", tile.alike && !tile.opened && "stack", tile.copy && "copy"];
  const item = element("li", kinds.filter(Boolean).join(" "));
  item.append(link, toolsOf(tile, state, act));
  if (tile.alike) item.append(countOf(tile, act));
  return item;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const list = parentElement.querySelector(".grid");
  grid = list;
  const scroller = document.querySelector('[data-testid="stMain"]');
  const ids = data.tiles.map((tile) => tile.id);
  const state = { marked: new Set(data.marked), refining: data.refining };

  const act = (name, id, ranged) => {
    if (name === "view") {
      const detail = { tiles: data.tiles, at: ids.indexOf(id), marked: state.marked, act };
      window.dispatchEvent(new CustomEvent("simsiam-view", { detail }));
      return;
    }
    if (name === "mark" && ranged && ids.includes(last)) {
      const [from, to] = [ids.indexOf(last), ids.indexOf(id)].sort((a, b) => a - b);
      setTriggerValue("range", ids.slice(from, to + 1));
      return;
    }
    if (name === "mark") last = id;
    else if (name !== "fold" && scroller) places.set(data.view, scroller.scrollTop);
    setTriggerValue(name, id);
  };

  const focused = list.contains(parentElement.activeElement) ? parentElement.activeElement : null;
  const at = focused && { id: focused.closest("li")?.querySelector("a")?.dataset.id, kind: focused.className };
  list.setAttribute("aria-label", data.label);
  list.classList.toggle("words", data.words);
  list.replaceChildren(...data.tiles.map((tile) => tileOf(tile, state, act)));
  if (at) { // the keyboard goes on from here
    const same = [...list.children].find((item) => item.querySelector("a").dataset.id === at.id);
    const button = same && [...same.querySelectorAll("button")].find((one) => one.className === at.kind);
    (button ?? list.querySelector("a"))?.focus({ preventScroll: true });
  }
  paste.to = (picture) => setTriggerValue("paste", picture);
  paste.most = data.most;
  if (scroller && shown !== null && shown !== data.view) {
    scroller.scrollTop = wentBack ? (places.get(data.view) ?? 0) : 0;
  }
  shown = data.view;
  wentBack = false;
}
