"""Groups of images under headings, each image a link; drawn by an inline component."""

from collections.abc import Sequence
from typing import TypedDict
from urllib.parse import urlencode

from streamlit.components.v2 import component

from simsiam_retrieval.collection import Item

from .. import settings
from ..markup import shown
from . import names


class Picture(TypedDict):
    """One image, in values that JSON can carry."""

    name: str
    path: str
    badge: str  # on the image; empty for none
    best: bool  # the badge stands out
    notes: list[str]  # lines below the name
    label: str  # for those who listen to the page
    source: str  # address of the thumbnail; empty when it is missing
    link: str  # address of the page that a click leads to; empty for none
    boxes: list[list[float]]  # parts to outline: left, top, width and height in percent of the square


class Section(TypedDict):
    """Images that belong together."""

    heading: str
    about: str
    pictures: list[Picture]
    more: str  # what is said after the last image; empty for nothing


HTML = '<div class="gallery"></div>'

CSS = """
.gallery { font-family: var(--st-font); color: var(--st-text-color);
           display: flex; flex-wrap: wrap; gap: 1.8rem 2.6rem; }
.group { max-width: 100%; }
h3 { font-size: 1rem; font-weight: 600; margin: 0; overflow-wrap: anywhere; }
p { margin: 0.1rem 0 0; font-size: 0.875rem; opacity: 0.68; overflow-wrap: anywhere; }
ul { display: flex; flex-wrap: wrap; gap: 1.1rem 0.9rem; list-style: none; margin: 0.7rem 0 0; padding: 0; }
li { margin: 0; width: min(10rem, calc(50vw - 1.5rem)); }
.picture { display: block; color: inherit; text-decoration: none; border-radius: 8px; outline-offset: 3px; }
.picture:focus-visible { outline: 2px solid var(--st-primary-color); }
.frame { position: relative; aspect-ratio: 1; border-radius: 8px; overflow: hidden;
         background: var(--st-secondary-background-color); }
img { width: 100%; height: 100%; object-fit: contain; display: block; }
.box { position: absolute; box-sizing: border-box; border: 2px solid #d9480f; outline: 1px solid #fff; }
.badge { position: absolute; left: 0.4rem; top: 0.4rem; padding: 0.1rem 0.45rem; border-radius: 999px;
         font-size: 0.75rem; line-height: 1.4; font-variant-numeric: tabular-nums;
         background: var(--st-background-color); color: var(--st-text-color); }
.badge.best { background: #0f766e; color: #ffffff; font-weight: 600; }
.name, .note { overflow: hidden; text-overflow: ellipsis; unicode-bidi: isolate; }
.name { margin-top: 0.45rem; font-size: 0.875rem; line-height: 1.35; }
.note { white-space: nowrap; font-size: 0.8rem; line-height: 1.35; opacity: 0.68; font-variant-numeric: tabular-nums; }
a.picture:hover .name { color: var(--st-primary-color); }
.more { margin-top: 0.6rem; }
"""

# Names are set as text, never as HTML.
JS = """
const element = (kind, className, text) => {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

const pictureOf = (picture) => {
  const holder = element(picture.link ? "a" : "div", "picture");
  holder.title = picture.path;
  const frame = element("div", "frame");
  if (picture.source) {
    const image = element("img");
    image.alt = picture.link ? "" : picture.label;
    image.src = picture.source;
    image.draggable = false;
    frame.append(image);
  }
  for (const part of picture.boxes || []) {
    const box = element("div", "box");
    ["left", "top", "width", "height"].forEach((side, at) => { box.style[side] = `${part[at]}%`; });
    frame.append(box);
  }
  if (picture.badge) frame.append(element("div", picture.best ? "badge best" : "badge", picture.badge));
  holder.append(frame, nameInto(element("div", "name"), picture.name));
  for (const note of picture.notes) holder.append(element("div", "note", note));
  if (picture.link) {
    holder.href = picture.link;
    holder.setAttribute("aria-label", picture.label);
  }
  const item = element("li");
  item.append(holder);
  return item;
};

const sectionOf = (section) => {
  const made = element("section", "group");
  if (section.heading) made.append(element("h3", "", section.heading));
  if (section.about) made.append(element("p", "", section.about));
  const list = element("ul");
  list.append(...section.pictures.map(pictureOf));
  made.append(list);
  if (section.more) made.append(element("p", "more", section.more));
  return made;
};

export default function ({ data, parentElement }) {
  const gallery = parentElement.querySelector(".gallery");
  gallery.replaceChildren(...data.sections.map(sectionOf));
}
"""

_component = component("simsiam_retrieval_gallery", html=HTML, css=names.CSS + CSS, js=names.JS + JS)


def gallery(sections: Sequence[Section], *, key: str) -> None:
    """Draw sections of pictures.

    Args:
        sections: The sections.
        key: Key of the widget.
    """
    _component(key=key, data={"sections": list(sections)})


def link_to(item: Item) -> str:
    """Return the address of the page with an image's neighbours.

    The browser follows this link by itself. ``st.switch_page`` would leave a wrong address in its history, and Back
    would lead there.

    Args:
        item: The image.

    Returns:
        The address.
    """
    return "./?" + urlencode({"image": item.id} | settings.mark())


def picture(
    item: Item,
    source: str,
    *,
    badge: str = "",
    best: bool = False,
    notes: Sequence[str] = (),
    boxes: Sequence[list[float]] = (),
) -> Picture:
    """Make a picture of the gallery that links to the image's neighbours.

    Args:
        item: The image.
        source: Address of the picture's pixels.
        badge: Text on the picture.
        best: Whether it is marked as the best of its group.
        notes: Lines below the picture.
        boxes: Parts to outline; see ``Picture``.

    Returns:
        The picture.
    """
    name = shown(item.path.name)
    said = ", ".join(part for part in (name, badge, *notes) if part)
    return Picture(
        name=name,
        path=shown(item.path),
        badge=badge,
        best=best,
        notes=list(notes),
        label=said,
        source=source,
        link=link_to(item),
        boxes=list(boxes),
    )
