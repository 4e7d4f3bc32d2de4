"""Names of files on one line, shortened in their middle: their ends, too, tell files apart."""

CSS = """
.middle { display: flex; min-width: 0; max-width: 100%; white-space: pre; unicode-bidi: isolate; }
.middle > .head { overflow: hidden; text-overflow: ellipsis; }
.middle > .tail { flex: none; }
"""

JS = """
const TAIL = 10;  // letters at the end that always show

const nameInto = (node, text) => {
  const letters = [...text];
  const cut = letters.length > 2 * TAIL ? letters.length - TAIL : letters.length;
  const part = (kind, some) => {
    const made = document.createElement("span");
    made.className = kind;
    made.textContent = some.join("");  // names are text, never HTML
    return made;
  };
  node.classList.add("middle");
  node.dir = "auto";
  node.replaceChildren(part("head", letters.slice(0, cut)), part("tail", letters.slice(cut)));
  return node;
};
"""
