"""How the pages look: Streamlit's theme options and the little CSS that they do not cover."""

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"

THEME: dict[str, object] = {
    "theme.font": FONT,
    "theme.headingFont": FONT,
    "theme.baseRadius": "medium",
    "theme.light.primaryColor": "#0f766e",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f4f2",
    "theme.light.textColor": "#1c1c1e",
    "theme.dark.primaryColor": "#2dd4bf",
    "theme.dark.backgroundColor": "#141516",
    "theme.dark.secondaryBackgroundColor": "#212325",
    "theme.dark.textColor": "#ececec",
}

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
    '<rect x="3" y="3" width="18" height="18" rx="4" fill="#99c9c4"/>'
    '<rect x="11" y="11" width="18" height="18" rx="4" fill="#0f766e"/></svg>'
)

CSS = """
.stMainBlockContainer { padding-top: 4.5rem; padding-bottom: 3rem; max-width: 110rem; }
.sr-fold, .stElementContainer:has(> .stHtml > .sr-fold), .st-key-narrow-navigation { display: none; }
@media (max-width: 640px) {
  .st-key-narrow-navigation { display: flex; flex-wrap: nowrap; overflow-x: auto; gap: 0.1rem;
                              scrollbar-width: none; }
  .st-key-narrow-navigation p { white-space: nowrap; font-size: 0.77rem; }
  .st-key-narrow-navigation a { padding: 0.2rem 0.22rem; }
  .st-key-controls { flex-wrap: nowrap; overflow-x: auto; scrollbar-width: none; }
  .st-key-controls > * { flex: none; }
  .stAppHeader, .stAppHeader .stAppToolbar { background: none; pointer-events: none; }
  .stAppHeader button { pointer-events: auto; }
  .stAppHeader [data-testid="stExpandSidebarButton"], [data-testid="stSidebar"] { display: none; }
  .stElementContainer:has(> .stHtml > .sr-fold) { display: flex; }
  .sr-fold { display: inline-block; font-size: 0.9rem; opacity: 0.8; cursor: pointer; user-select: none; }
  .sr-fold input { position: absolute; opacity: 0; }
  .sr-fold::after { content: " ▸"; }
  .sr-fold:has(input:checked)::after { content: " ▾"; }
  .sr-fold:has(input:focus-visible) { outline: 2px solid #0f766e; outline-offset: 3px; border-radius: 4px; }
  .st-key-fold-details, .st-key-fold-options, .st-key-fold-upload { display: none; }
  .stMain:has(.sr-fold-upload input:checked) .st-key-fold-upload,
  .stMain:has(.sr-fold-details input:checked) .st-key-fold-details,
  .stMain:has(.sr-fold-options input:checked) .st-key-fold-options { display: flex; }
  .st-key-about .stHorizontalBlock { flex-wrap: nowrap; gap: 0.9rem; }
  .st-key-about .stColumn { min-width: 0; }
  .st-key-about .stColumn:first-child { flex: 0 0 8rem; }
  .stMain:has(.sr-fold-details input:checked) .st-key-about .stHorizontalBlock { flex-wrap: wrap; }
  .stMain:has(.st-key-part) .st-key-about .stHorizontalBlock { flex-wrap: wrap; }
  .stMain:has(.st-key-part) .st-key-about .stColumn:first-child { flex: 1 1 100%; }
  .stHorizontalBlock { row-gap: 1rem; }
  .stMainBlockContainer { padding: 0.6rem 1rem 3rem; }
}
h1.sr-title { font-size: 1.65rem; font-weight: 650; line-height: 1.25; margin: 0; padding: 0;
            overflow-wrap: anywhere; letter-spacing: -0.01em; }
.sr-faint { opacity: 0.68; font-size: 0.92rem; margin: 0.3rem 0 0; overflow-wrap: anywhere; }
h2.sr-section { font-size: 1.1rem; font-weight: 600; line-height: 1.3; margin: 0; padding: 0; overflow-wrap: anywhere; }
.sr-section + .sr-faint { margin-top: 0.1rem; }
.sr-notice { border-left: 3px solid #b7791f; border-radius: 6px; padding: 0.85rem 1.1rem; margin: 0.25rem 0;
             background: color-mix(in srgb, #d69e2e 12%, transparent); overflow-wrap: anywhere; }
.sr-notice.info { border-color: #0f766e; background: color-mix(in srgb, #14b8a6 10%, transparent); }
.sr-notice p { margin: 0; }
.sr-notice p + p { margin-top: 0.35rem; }
.sr-notice code { background: color-mix(in srgb, currentColor 9%, transparent); padding: 0.1rem 0.35rem;
                  border-radius: 4px; font-size: 0.9em; user-select: all; }
.sr-picture { display: block; height: auto; border-radius: 8px; }
dl.sr-facts { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 1.4rem; margin: 0; padding: 0;
              font-size: 0.95rem; }
.sr-section + .sr-facts { margin-top: 0.8rem; }
.sr-facts + .sr-faint { margin-top: 0.8rem; }
.sr-facts dt { opacity: 0.68; font-weight: 400; margin: 0; padding: 0; }
.sr-facts dd { margin: 0; padding: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
dl.sr-figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: 0.6rem 1rem;
                margin: 0; padding: 0; }
.sr-figures dt { opacity: 0.68; font-size: 0.875rem; font-weight: 400; margin: 0; padding: 0; }
.sr-figures dd { font-size: 1.5rem; line-height: 1.3; margin: 0; padding: 0; font-variant-numeric: tabular-nums; }
.sr-download { display: inline-flex; align-items: center; min-height: 2.5rem; padding: 0.25rem 0.75rem;
               border: 1px solid color-mix(in srgb, currentColor 20%, transparent); border-radius: 0.5rem;
               white-space: nowrap; font-size: 0.875rem; }
.stHtml a.sr-download { color: inherit; text-decoration: none; }
.stHtml a.sr-download:is(:hover, :focus-visible, :active) { color: #0d9488; border-color: #0d9488; }
.stHtml a.sr-download:focus-visible { outline: 2px solid #0d9488; outline-offset: 2px; }
.sr-download[aria-disabled] { opacity: 0.4; cursor: not-allowed; }
.sr-table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.95rem; }
.sr-table th, .sr-table td { padding: 0.4rem 2.2rem 0.4rem 0; text-align: left; font-weight: 400;
                             border: 0; border-bottom: 1px solid color-mix(in srgb, currentColor 14%, transparent); }
.sr-table thead th { opacity: 0.68; font-size: 0.85rem; }
.sr-table small { opacity: 0.68; white-space: nowrap; }
.sr-dot { display: inline-block; width: 0.65rem; height: 0.65rem; border-radius: 50%; margin-right: 0.5rem; }
.sr-views { display: grid; grid-template-columns: repeat(5, minmax(0, 8rem)); gap: 0.4rem; }
.sr-views span { font-size: 0.8rem; opacity: 0.68; }
.sr-views figure { margin: 0; }
.sr-views img { display: block; width: 100%; aspect-ratio: 1; border-radius: 6px; }
.sr-wide { overflow-x: auto; }
.sr-wide td, .sr-wide thead th { white-space: nowrap; }
.sr-bar { display: inline-block; width: 5rem; height: 0.5rem; border-radius: 3px; margin-right: 0.6rem;
          background: linear-gradient(to right, #0d9488 var(--part),
                                      color-mix(in srgb, currentColor 12%, transparent) 0); }
"""
