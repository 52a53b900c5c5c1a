import type { Activity, ActivityLane } from './activity.ts'
import { drawGrid, drawPage, escapeXml, timeScale, width } from './page.ts'

/** One load, with what stands over it. */
export interface ActivityPanel {
  title: string
  activity: Activity
}

const labelWidth = 300
const plotWidth = width - labelWidth - 90
const laneHeight = 26
const headHeight = 40
/** A lane is full when both of two processors work for it. */
const fullShare = 2

/** Draws loads below one another as SVG, each on a time scale of its own. */
export function drawActivity(panels: readonly ActivityPanel[], caption: string): string {
  const head = [
    `<text x="10" y="22">${escapeXml(caption)}. A lane's height is processor time, full at ${fullShare} processors.</text>`,
  ]
  return drawPage(
    { title: 'Where the time of an image load goes', head, headHeight },
    panels.map((panel) => ({ svg: drawPanel(panel), height: 75 + panel.activity.lanes.length * laneHeight })),
  )
}

function drawPanel({ title, activity: { end, lanes } }: ActivityPanel): string {
  const x = timeScale(end, labelWidth, plotWidth)
  const bottom = 30 + lanes.length * laneHeight
  return [
    `<text x="10" y="16" font-size="15" font-weight="600">${escapeXml(title)}: ${(end / 1000).toFixed(2)} s</text>`,
    ...drawGrid(end, x, bottom),
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
