/** Width of a picture, in its own units. */
export const width = 1200

/** A part of a picture, as SVG from its own upper left corner on. */
export interface PagePart {
  svg: string
  /** With the room below it. */
  height: number
}

/** Draws parts below one another, as SVG. */
export function drawPage(
  { title, head, headHeight }: { title: string; head: readonly string[]; headHeight: number },
  parts: readonly PagePart[],
): string {
  let top = headHeight
  const drawn = parts.map(({ svg, height }) => {
    const part = `<g transform="translate(0 ${top})">${svg}</g>`
    top += height
    return part
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top}" width="${width}" height="${top}" font-family="system-ui, sans-serif" font-size="12">
<title>${title}</title>
<rect width="${width}" height="${top}" fill="#fff"/>
${[...head, ...drawn].join('\n')}
</svg>
`
}

/** Where a time stands, in milliseconds since the start, between two columns of a picture. */
export function timeScale(end: number, left: number, plotWidth: number): (ms: number) => number {
  return (ms) => Math.round((left + (ms / end) * plotWidth) * 10) / 10
}

/** Lines at round times from the top of a part to `bottom`, with the times below them. */
export function drawGrid(end: number, x: (ms: number) => number, bottom: number): string[] {
  return ticks(end).map(
    (ms) =>
      `<line x1="${x(ms)}" x2="${x(ms)}" y1="26" y2="${bottom}" stroke="#e3e3e3"/><text x="${x(ms)}" y="${bottom + 15}" text-anchor="middle" fill="#555">${ms / 1000} s</text>`,
  )
}

/** About ten round times up to `end`, in milliseconds. */
function ticks(end: number): number[] {
  const step = [100, 250, 500, 1000, 2000, 5000, 10_000].find((ms) => end / ms <= 14) ?? 20_000
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, at) => at * step)
}

/** Text as it may stand in SVG. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
