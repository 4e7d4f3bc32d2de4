// Points of a map, drawn by WebGL (or by a plain canvas where there is none): move, zoom, point at, draw round.
// One instance a component; what it shows survives a redraw by Python and a visit to another page.

const kept = new Map(); // data.version -> where we are on that map
const charts = new WeakMap();
const REACH = 12; // CSS pixels round a point that count as on it
const FAINT = 0.07;
const HOVER = "simsiam-map-hover"; // window event: the point below the pointer, or none
const FACES = "simsiam-map-faces"; // window event: images whose thumbnails are wanted
const FACE = 54; // CSS pixels of a thumbnail on the map
const FACES_FROM = 2.5; // zoom from which thumbnails take the place of dots
const faces = new Map(); // id -> Image, of the map that was drawn last
let facesOf = null; // its version: another collection has other images under the same ids
let drawing = null; // the chart that thumbnails are for
window.addEventListener("simsiam-map-faces-told", (event) => {
  for (const [id, source] of Object.entries(event.detail)) {
    const image = new Image();
    image.onload = () => drawing?.paint();
    image.src = source;
    faces.set(+id, image);
  }
});

const VERTEX = `#version 300 es
in vec2 place; in float group;
uniform vec2 scale, shift; uniform float size; uniform vec4 palette[64];
out vec4 colour;
void main() {
  gl_Position = vec4((place * 2.0 - 1.0) * scale + shift, 0.0, 1.0);
  gl_PointSize = size;
  colour = palette[int(group)];
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour; uniform float size; out vec4 found;
void main() {
  float inside = clamp((0.5 - length(gl_PointCoord - 0.5)) * size + 0.3, 0.0, 1.0);
  found = vec4(colour.rgb, 1.0) * colour.a * inside;
}`;

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);

/** Draws with WebGL; null where the browser has none. */
function glPainter(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const at = (name) => gl.getUniformLocation(program, name);
  const uniforms = { scale: at("scale"), shift: at("shift"), size: at("size"), palette: at("palette") };
  const buffers = { place: gl.createBuffer(), group: gl.createBuffer() };
  const attribute = (name, values, width, type, normalised) => {
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, width, type, normalised, 0, 0);
  };
  let count = 0;
  return {
    kind: "webgl",
    points: (places, groups) => {
      count = groups.length;
      attribute("place", places, 2, gl.UNSIGNED_SHORT, true);
      attribute("group", groups, 1, gl.UNSIGNED_BYTE, false);
    },
    draw: ({ width, height, x, y, unit, size, palette }) => {
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(uniforms.scale, (2 * unit) / width, (2 * unit) / height);
      gl.uniform2f(uniforms.shift, (-2 * unit * x) / width, (-2 * unit * y) / height);
      gl.uniform1f(uniforms.size, size);
      gl.uniform4fv(uniforms.palette, palette.flat());
      gl.drawArrays(gl.POINTS, 0, count);
    },
  };
}

/** The same with squares on a plain canvas. */
function plainPainter(canvas) {
  const pen = canvas.getContext("2d");
  let places, rows; // rows of each group
  return {
    kind: "2d",
    points: (allPlaces, groups) => {
      places = allPlaces;
      rows = new Map();
      groups.forEach((group, row) => {
        if (!rows.has(group)) rows.set(group, []);
        rows.get(group).push(row);
      });
    },
    draw: ({ width, height, x, y, unit, size, palette }) => {
      pen.clearRect(0, 0, width, height);
      for (const [group, members] of rows) {
        const [red, green, blue, alpha] = palette[group];
        pen.fillStyle = `rgba(${red * 255}, ${green * 255}, ${blue * 255}, ${alpha})`;
        for (const row of members) {
          const left = width / 2 + (places[2 * row] / 32767.5 - 1 - x) * unit;
          const top = height / 2 - (places[2 * row + 1] / 32767.5 - 1 - y) * unit;
          pen.fillRect(left - size / 2, top - size / 2, size, size);
        }
      }
    },
  };
}

class Chart {
  constructor(root) {
    this.stage = root.querySelector(".stage");
    this.canvas = root.querySelector(".points");
    this.over = root.querySelector(".over");
    this.tools = root.querySelector(".tools");
    this.legend = root.querySelector(".legend");
    this.pointers = new Map();
    this.near = -1;
    this.stroke = null; // what is being drawn, in map coordinates
    this.painter = glPainter(this.canvas);
    if (!this.painter) {
      // a canvas that was asked for WebGL draws nothing else
      const plain = this.canvas.cloneNode();
      this.canvas.replaceWith(plain);
      this.canvas = plain;
      this.painter = plainPainter(plain);
    }
    this.canvas.dataset.painter = this.painter.kind;
    this.sizes = new ResizeObserver(() => this.resized());
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.painter = glPainter(this.canvas);
      this.painter.points(this.places, this.groups);
      this.paint();
    });
    this.listen();
  }

  update(data, tell) {
    this.tell = tell;
    this.sizes.observe(this.stage);
    if (data.version !== facesOf) {
      faces.clear();
      facesOf = data.version;
    }
    if (data.version !== this.data?.version) {
      this.places = new Uint16Array(bytes(data.points));
      this.ids = new Int32Array(bytes(data.ids));
      this.extent = [0, 1].map((axis) => {
        let most = 0.05; // half of what the points span; Python centres them
        for (let at = axis; at < this.places.length; at += 2) most = Math.max(most, Math.abs(this.places[at] / 32767.5 - 1));
        return most;
      });
      if (!kept.has(data.version)) {
        kept.set(data.version, { x: 0, y: 0, zoom: 1, area: null, mode: "lasso", groups: new Set(), colouring: "" });
      }
    }
    const fresh = data.version !== this.data?.version || data.colouring !== this.data?.colouring;
    this.at = kept.get(data.version);
    if (this.at.colouring !== data.colouring) {
      this.at.groups = new Set();
      this.at.colouring = data.colouring;
    }
    this.data = data;
    if (fresh) {
      this.groups = new Uint8Array(bytes(data.groups));
      this.painter.points(this.places, this.groups);
      this.drawLegend();
    }
    this.over.setAttribute("aria-label", data.label);
    this.mode(this.at.mode);
    this.resized();
  }

  dispose() {
    this.sizes.disconnect();
    this.point(-1);
  }

  // -- from map coordinates to CSS pixels and back

  get unit() {
    const margin = 28; // for the dots at the edge
    const across = (this.stage.clientWidth / 2 - margin) / this.extent[0];
    const up = (this.stage.clientHeight / 2 - margin) / this.extent[1];
    return Math.max(20, Math.min(across, up)) * this.at.zoom;
  }

  toScreen(x, y) {
    return [
      this.stage.clientWidth / 2 + (x - this.at.x) * this.unit,
      this.stage.clientHeight / 2 - (y - this.at.y) * this.unit,
    ];
  }

  toMap(left, top) {
    return [
      this.at.x + (left - this.stage.clientWidth / 2) / this.unit,
      this.at.y - (top - this.stage.clientHeight / 2) / this.unit,
    ];
  }

  place(row) {
    return [this.places[2 * row] / 32767.5 - 1, this.places[2 * row + 1] / 32767.5 - 1];
  }

  get dotSize() {
    const count = this.ids.length;
    const base = count <= 300 ? 10 : count <= 3000 ? 7 : count <= 20000 ? 4.5 : 3;
    return base * Math.min(2.2, Math.max(1, this.at.zoom ** 0.35));
  }

  // -- drawing

  resized() {
    const dense = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.over]) {
      const width = Math.max(1, Math.round(this.stage.clientWidth * dense));
      const height = Math.max(1, Math.round(this.stage.clientHeight * dense));
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    }
    this.paint();
  }

  paint() {
    if (this.waiting || !this.data) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.paintNow();
    });
  }

  paintNow() {
    const start = performance.now();
    const dense = this.canvas.width / Math.max(1, this.stage.clientWidth);
    const some = this.at.groups.size > 0;
    const palette = Array.from({ length: 64 }, (_, group) => {
      const entry = this.data.palette[group];
      if (!entry) return [0, 0, 0, 0];
      return [...rgb(entry.colour), some && !this.at.groups.has(group) ? FAINT : entry.faint ? 0.35 : 0.85];
    });
    this.painter.draw({
      width: this.canvas.width,
      height: this.canvas.height,
      x: this.at.x,
      y: this.at.y,
      unit: this.unit * dense,
      size: this.dotSize * dense,
      palette,
    });
    this.paintFaces(dense);
    this.stage.dataset.drawn = (performance.now() - start).toFixed(2); // milliseconds, for whoever measures
  }

  /** Rows whose thumbnails are drawn: one a square of the screen, so that none lies on another. */
  faced() {
    if (this.at.zoom < FACES_FROM) return [];
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    const some = this.at.groups.size > 0;
    const taken = new Set();
    const found = [];
    for (let row = 0; row < this.ids.length; row++) {
      const [left, top] = this.toScreen(...this.place(row));
      if (left < 0 || top < 0 || left > width || top > height || (some && !this.at.groups.has(this.groups[row]))) continue;
      const [column, line] = [Math.round(left / FACE), Math.round(top / FACE)];
      let free = true;
      for (const right of [-1, 0, 1]) for (const down of [-1, 0, 1]) {
        const other = taken.size && this.spots.get(`${column + right} ${line + down}`);
        if (other && Math.abs(other[0] - left) < FACE && Math.abs(other[1] - top) < FACE) free = false;
      }
      if (!free) continue;
      if (!taken.size) this.spots = new Map();
      taken.add(row);
      this.spots.set(`${column} ${line}`, [left, top]);
      found.push([row, left, top]);
    }
    return found;
  }

  paintFaces(dense) {
    drawing = this;
    const pen = this.over.getContext("2d");
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, this.stage.clientWidth, this.stage.clientHeight);
    const wanted = [];
    let drawn = 0;
    for (const [row, left, top] of this.faced()) {
      const image = faces.get(this.ids[row]);
      if (!image) wanted.push(this.ids[row]);
      if (!image?.naturalWidth) continue;
      const scale = FACE / Math.max(image.naturalWidth, image.naturalHeight);
      const [width, height] = [image.naturalWidth * scale - 4, image.naturalHeight * scale - 4];
      pen.fillStyle = this.data.palette[this.groups[row]]?.colour ?? "#888888";
      pen.fillRect(left - width / 2 - 2, top - height / 2 - 2, width + 4, height + 4);
      pen.drawImage(image, left - width / 2, top - height / 2, width, height);
      drawn += 1;
    }
    this.stage.dataset.faces = drawn; // for whoever looks from outside
    clearTimeout(this.asking);
    if (wanted.length) {
      this.asking = setTimeout(() => {
        window.dispatchEvent(new CustomEvent(FACES, { detail: wanted.slice(0, 120) }));
      }, 150);
    }
    this.paintOver(pen);
  }

  paintOver(pen) {
    const colours = getComputedStyle(this.stage);
    const ink = colours.getPropertyValue("--st-primary-color") || "#0f766e";
    const shape = this.stroke ?? this.at.area;
    if (shape && shape.length > 1) {
      pen.beginPath();
      shape.forEach(([x, y], number) => pen[number ? "lineTo" : "moveTo"](...this.toScreen(x, y)));
      pen.closePath();
      pen.lineWidth = 2;
      pen.strokeStyle = ink;
      pen.stroke();
      if (!this.stroke) {
        // what is outside steps back
        pen.rect(0, 0, this.stage.clientWidth, this.stage.clientHeight);
        pen.globalAlpha = 0.6;
        pen.fillStyle = colours.backgroundColor;
        pen.fill("evenodd");
      } else {
        pen.globalAlpha = 0.12;
        pen.fillStyle = ink;
        pen.fill();
      }
      pen.globalAlpha = 1;
    }
    if (this.near >= 0) {
      pen.beginPath();
      pen.arc(...this.toScreen(...this.place(this.near)), this.dotSize / 2 + 4, 0, 2 * Math.PI);
      pen.lineWidth = 2.5;
      pen.strokeStyle = colours.color;
      pen.stroke();
    }
  }

  drawLegend() {
    this.legend.replaceChildren(
      ...this.data.palette.map((entry, group) => {
        const item = document.createElement("li");
        const button = document.createElement("button");
        button.type = "button";
        const dot = document.createElement("span");
        dot.className = "dot";
        dot.style.background = entry.colour;
        const name = document.createElement("span");
        name.className = "who";
        name.textContent = entry.name;
        const count = document.createElement("span");
        count.className = "count";
        count.textContent = entry.count.toLocaleString("en");
        button.title = entry.name;
        button.append(dot, name, count);
        if (entry.faces?.length) {
          const faces = document.createElement("span");
          faces.className = "faces";
          faces.append(
            ...entry.faces.map((face) => Object.assign(document.createElement("img"), { src: face.source, alt: face.name })),
          );
          button.append(faces);
        }
        button.addEventListener("click", () => {
          const groups = this.at.groups;
          groups.has(group) ? groups.delete(group) : groups.add(group);
          this.at.area = null; // an area elsewhere would leave nothing of the group
          this.pressed();
          this.paint();
          this.choose();
        });
        item.append(button);
        return item;
      }),
    );
    this.pressed();
  }

  pressed() {
    this.legend.classList.toggle("some", this.at.groups.size > 0);
    [...this.legend.querySelectorAll("button")].forEach((button, group) => {
      button.setAttribute("aria-pressed", String(this.at.groups.has(group)));
    });
  }

  // -- what a person does

  choose() {
    this.tools.querySelector('[data-do="clear"]').hidden = !this.at.area && !this.at.groups.size;
    this.tell("choice", { area: this.at.area, groups: [...this.at.groups], colouring: this.data.colouring });
  }

  mode(mode) {
    this.at.mode = mode;
    this.over.dataset.mode = mode;
    for (const button of this.tools.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    this.tools.querySelector('[data-do="clear"]').hidden = !this.at.area && !this.at.groups.size;
  }

  zoom(factor, left = this.stage.clientWidth / 2, top = this.stage.clientHeight / 2) {
    const [x, y] = this.toMap(left, top);
    this.at.zoom = Math.min(400, Math.max(0.5, this.at.zoom * factor));
    const [nowX, nowY] = this.toMap(left, top);
    this.at.x += x - nowX;
    this.at.y += y - nowY;
    this.paint();
  }

  move(right, down) {
    this.at.x = Math.min(1.5, Math.max(-1.5, this.at.x - right / this.unit));
    this.at.y = Math.min(1.5, Math.max(-1.5, this.at.y + down / this.unit));
    this.paint();
  }

  act(what) {
    if (what === "in") this.zoom(1.5);
    if (what === "out") this.zoom(1 / 1.5);
    if (what === "all") {
      Object.assign(this.at, { x: 0, y: 0, zoom: 1 });
      this.paint();
    }
    if (what === "view") {
      const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
      this.select([[4, 4], [width - 4, 4], [width - 4, height - 4], [4, height - 4]].map((at) => this.toMap(...at)));
    }
    if (what === "clear") {
      this.at.area = null;
      this.at.groups.clear();
      this.pressed();
      this.paint();
      this.choose();
      this.over.focus({ preventScroll: true });
    }
  }

  select(area) {
    const every = Math.ceil(area.length / 400);
    this.at.area = area.filter((_, number) => number % every === 0).map((at) => at.map((value) => +value.toFixed(5)));
    this.paint();
    this.choose();
  }

  nearest(left, top) {
    const [x, y] = this.toMap(left, top);
    const reach = (Math.max(REACH, this.dotSize) / this.unit) ** 2;
    const some = this.at.groups.size > 0;
    let found = -1;
    let least = reach;
    for (let row = 0; row < this.ids.length; row++) {
      const across = this.places[2 * row] / 32767.5 - 1 - x;
      const up = this.places[2 * row + 1] / 32767.5 - 1 - y;
      const apart = across * across + up * up;
      if (apart < least && (!some || this.at.groups.has(this.groups[row]))) {
        least = apart;
        found = row;
      }
    }
    return found;
  }

  point(row) {
    if (row === this.near) return;
    this.near = row;
    this.over.classList.toggle("near", row >= 0);
    let detail = null;
    if (row >= 0) {
      const box = this.stage.getBoundingClientRect();
      const [left, top] = this.toScreen(...this.place(row));
      detail = { id: this.ids[row], group: this.data.palette[this.groups[row]]?.name ?? "", left: box.left + left, top: box.top + top };
    }
    window.dispatchEvent(new CustomEvent(HOVER, { detail }));
    if (this.at) this.paint();
  }

  listen() {
    const over = this.over;
    const here = (event) => {
      const box = over.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    for (const button of this.tools.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        if (button.dataset.mode) this.mode(button.dataset.mode);
        else this.act(button.dataset.do);
      });
    }
    const hint = this.stage.querySelector(".hint");
    over.addEventListener("wheel", (event) => {
      hint.hidden = event.ctrlKey || event.metaKey;
      clearTimeout(this.hinting);
      this.hinting = setTimeout(() => { hint.hidden = true; }, 1500);
      if (!hint.hidden) return; // the wheel alone scrolls the page
      event.preventDefault();
      this.point(-1);
      this.zoom(Math.exp(-Math.max(-300, Math.min(300, event.deltaY)) * 0.002), ...here(event));
    }, { passive: false });
    over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      over.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, here(event));
      if (this.pointers.size === 1) {
        this.start = here(event);
        this.moved = false;
        if (this.at.mode !== "move") this.stroke = [this.toMap(...this.start)];
      } else {
        this.stroke = null; // two fingers zoom, whatever the tool
      }
      this.point(-1);
    });
    over.addEventListener("pointermove", (event) => {
      const [left, top] = here(event);
      const before = this.pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType !== "touch") this.point(this.nearest(left, top));
        return;
      }
      if (this.pointers.size === 2) {
        const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const apart = (at) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
        this.moved = true;
        this.zoom(apart([left, top]) / apart(before), (left + other[0]) / 2, (top + other[1]) / 2);
        this.move((left - before[0]) / 2, (top - before[1]) / 2);
        this.pointers.set(event.pointerId, [left, top]);
        return;
      }
      if (Math.hypot(left - this.start[0], top - this.start[1]) > 4) this.moved = true;
      if (this.at.mode === "move") {
        over.classList.add("dragging");
        this.move(left - before[0], top - before[1]);
      } else if (this.stroke && this.at.mode === "box") {
        const [a, b] = [this.start, [left, top]];
        this.stroke = [a, [b[0], a[1]], b, [a[0], b[1]]].map((at) => this.toMap(...at));
        this.paint();
      } else if (this.stroke && Math.hypot(left - before[0], top - before[1]) >= 2) {
        this.stroke.push(this.toMap(left, top));
        this.paint();
      } else return;
      this.pointers.set(event.pointerId, [left, top]);
    });
    const ended = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      over.classList.remove("dragging");
      if (this.pointers.size) return;
      const stroke = this.stroke;
      this.stroke = null;
      if (event.type === "pointerup" && !this.moved) {
        const row = this.nearest(...here(event));
        if (row >= 0) this.tell("pick", this.ids[row]);
      } else if (event.type === "pointerup" && stroke && stroke.length > 2) {
        this.select(stroke);
      }
      this.paint();
    };
    over.addEventListener("pointerup", ended);
    over.addEventListener("pointercancel", ended);
    over.addEventListener("pointerleave", () => this.point(-1));
    over.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = 60;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      const acts = { "+": "in", "=": "in", "-": "out", 0: "all", Enter: "view", Escape: "clear" };
      if (moves[event.key]) this.move(...moves[event.key]);
      else if (acts[event.key]) this.act(acts[event.key]);
      else return;
      event.preventDefault();
    });
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".map");
  if (!charts.has(root)) charts.set(root, new Chart(root));
  charts.get(root).update(data, setTriggerValue);
  return () => charts.get(root)?.dispose();
}
