// What is drawn on a canvas takes the colours of the page: light or dark, as the browser prefers. (`figures`, `inked` and `states` are
// Bokeh's models; `night` has the colours of the states of units on a dark page, where the darkest of `states` could not be seen.)
const dark = matchMedia("(prefers-color-scheme: dark)")
const day = states.palette
const paint = () => {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim()
  const here = {sync: false}        // and not in the program
  for (const axis of figures.flatMap(f => [...f.below, ...f.left]))
    axis.setv({axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: "#888", major_tick_line_color: "#888"}, here)
  for (const glyph of inked) glyph.setv("text_color" in glyph ? {text_color: ink} : {line_color: ink}, here)
  states.setv({palette: dark.matches ? [...night, ...day.slice(night.length)] : day}, here)
}
paint()
dark.addEventListener("change", paint)
