// What is drawn on a canvas takes the colours of the page: light or dark, as the browser prefers. (`figures` and `inked` are Bokeh's models.)
const dark = matchMedia("(prefers-color-scheme: dark)")
const paint = () => {
  const style = getComputedStyle(document.documentElement)
  const [ink, card] = ["--ink", "--card"].map(name => style.getPropertyValue(name).trim())
  const here = {sync: false}        // and not in the program
  for (const f of figures) {
    f.setv({background_fill_color: card, border_fill_color: card}, here)
    for (const axis of [...f.below, ...f.left])
      axis.setv({axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: "#888", major_tick_line_color: "#888"}, here)
  }
  for (const glyph of inked) glyph.setv("text_color" in glyph ? {text_color: ink} : {line_color: ink}, here)
}
paint()
dark.addEventListener("change", paint)
