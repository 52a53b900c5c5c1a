import type { Activity, ActivityLane } from './activity.ts'
import { escapeXml, ticks } from './draw.ts'

/** One load, with what stands over it. */
export interface ActivityPanel {
  title: string
  activity: Activity
}

const width = 1200
const labelWidth = 300
const plotWidth = width - labelWidth - 90
const laneHeight = 26
const headHeight = 40
/** A lane is full when both of two processors work for it. */
const fullShare = 2

/** Draws loads below one another as SVG, each on a time scale of its own. */
export function drawActivity(panels: readonly ActivityPanel[], caption: string): string {
  let top = headHeight
  const drawn = panels.map((panel) => {
    const part = `<g transform="translate(0 ${top})">${drawPanel(panel)}</g>`
    top += 75 + panel.activity.lanes.length * laneHeight
    return part
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${top}" width="${width}" height="${top}" font-family="system-ui, sans-serif" font-size="12">
<title>Where the time of an image load goes</title>
<rect width="${width}" height="${top}" fill="#fff"/>
<text x="10" y="22">${escapeXml(caption)}. A lane's height is processor time, full at ${fullShare} processors.</text>
${drawn.join('\n')}
</svg>
`
}

function drawPanel({ title, activity: { end, lanes } }: ActivityPanel): string {
  const x = (ms: number) => Math.round((labelWidth + (ms / end) * plotWidth) * 10) / 10
  const bottom = 30 + lanes.length * laneHeight
  return [
    `<text x="10" y="16" font-size="15" font-weight="600">${escapeXml(title)}: ${(end / 1000).toFixed(2)} s</text>`,
    ...ticks(end).map(
      (ms) =>
        `<line x1="${x(ms)}" x2="${x(ms)}" y1="26" y2="${bottom}" stroke="#e3e3e3"/><text x="${x(ms)}" y="${bottom + 15}" text-anchor="middle" fill="#555">${ms / 1000} s</text>`,
    ),
    ...lanes.map((lane, at) => drawLane(lane, 30 + at * laneHeight, x)),
  ].join('\n')
}

function drawLane({ label, spans, total }: ActivityLane, y: number, x: (ms: number) => number): string {
  const base = y + laneHeight - 3
  const bars = spans.map(({ from, to, share }) => {
    const height = Math.round(Math.min(1, share / fullShare) * (laneHeight - 5) * 10) / 10
    const right = Math.max(x(from) + 1, x(to))
    return `<rect x="${x(from)}" y="${Math.round((base - height) * 10) / 10}" width="${Math.round((right - x(from)) * 10) / 10}" height="${height}"/>`
  })
  return [
    `<text x="10" y="${base - 5}">${escapeXml(label)}</text>`,
    `<line x1="${labelWidth}" x2="${labelWidth + plotWidth}" y1="${base}" y2="${base}" stroke="#ccc"/>`,
    `<g fill="#2f6fb0">${bars.join('')}</g>`,
    `<text x="${width - 10}" y="${base - 5}" text-anchor="end" fill="#555">${Math.round(total)} ms</text>`,
  ].join('\n')
}
