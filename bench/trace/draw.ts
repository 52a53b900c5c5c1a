import type { Lane, Phase, Waterfall } from './milestones.ts'
import { drawGrid, drawPage, escapeXml, timeScale, width } from './page.ts'

/** One side's boot, with what stands over it. */
export interface Panel {
  title: string
  waterfall: Waterfall
}

const colors: Readonly<Record<Phase, string>> = {
  tool: '#8c8c8c',
  node: '#b8860b',
  sandbox: '#7b61a8',
  container: '#c05a3c',
  process: '#2f6fb0',
  serving: '#4c9a5b',
}

const legend: Readonly<Record<Phase, string>> = {
  tool: 'until the container runs',
  node: 'entrypoint, systemd',
  sandbox: 'pod sandbox',
  container: 'create and start container',
  process: 'process starts, until it serves',
  serving: 'serves, until it is Ready',
}

const labelWidth = 190
const plotWidth = width - labelWidth - 30
const laneHeight = 20
const cpuHeight = 60
const headHeight = 70

/** Draws boots below one another as SVG, each on a time scale of its own, with the use of the processors below. */
export function draw(panels: readonly Panel[], caption: string): string {
  const head = [`<text x="10" y="22">${escapeXml(caption)}</text>`, drawLegend()]
  return drawPage(
    { title: 'Where the time of a boot goes', head, headHeight },
    panels.map((panel) => ({ svg: drawPanel(panel), height: panelHeight(panel) })),
  )
}

function drawLegend(): string {
  const step = (width - 20) / Object.keys(legend).length
  return Object.entries(legend)
    .map(([phase, text], at) => {
      const x = 10 + at * step
      return `<rect x="${x}" y="38" width="12" height="12" fill="${colors[phase as Phase]}"/><text x="${x + 17}" y="49">${text}</text>`
    })
    .join('\n')
}

function panelHeight({ waterfall }: Panel): number {
  return 30 + waterfall.lanes.length * laneHeight + 20 + cpuHeight + 45
}

function drawPanel({ title, waterfall }: Panel): string {
  const { lanes, end, cpu } = waterfall
  const x = timeScale(end, labelWidth, plotWidth)
  const bottom = 30 + lanes.length * laneHeight
  const cpuBottom = bottom + 20 + cpuHeight
  const points = cpu
    .filter(({ at }) => at <= end)
    .map(({ at, busy }) => `${x(at)},${Math.round((cpuBottom - busy * cpuHeight) * 10) / 10}`)
  return [
    `<text x="10" y="16" font-size="15" font-weight="600">${escapeXml(title)}: usable after ${(end / 1000).toFixed(1)} s</text>`,
    ...drawGrid(end, x, cpuBottom),
    ...lanes.map((lane, at) => drawLane(lane, 30 + at * laneHeight, x)),
    `<text x="10" y="${cpuBottom - cpuHeight / 2}">processors, 0–100 %</text>`,
    `<polygon points="${x(0)},${cpuBottom} ${points.join(' ')} ${x(end)},${cpuBottom}" fill="#d9c7a0"/>`,
    `<line x1="${x(0)}" x2="${x(end)}" y1="${cpuBottom - cpuHeight}" y2="${cpuBottom - cpuHeight}" stroke="#bbb" stroke-dasharray="3 3"/>`,
  ].join('\n')
}

function drawLane({ label, bars, marks }: Lane, y: number, x: (ms: number) => number): string {
  return [
    `<text x="10" y="${y + 14}">${escapeXml(label)}</text>`,
    ...bars.map(
      ({ phase, from, to }) =>
        `<rect x="${x(from)}" y="${y + 3}" width="${Math.max(1, Math.round((x(to) - x(from)) * 10) / 10)}" height="${laneHeight - 6}" fill="${colors[phase]}"><title>${legend[phase]}: ${Math.round(from)}–${Math.round(to)} ms</title></rect>`,
    ),
    ...marks.map(
      ({ at, label: text }, index) =>
        `<circle cx="${x(at)}" cy="${y + 10}" r="3.5" fill="#111"><title>${text}: ${Math.round(at)} ms</title></circle>${drawMarkText(text, x(at), marks[index + 1] && x(marks[index + 1]?.at ?? 0), y)}`,
    ),
  ].join('\n')
}

/** A mark close to the next one has its text on the left. */
function drawMarkText(text: string, at: number, next: number | undefined, y: number): string {
  const crowded = (next !== undefined && next - at < 8 + text.length * 6) || at > width - 110
  return crowded
    ? `<text x="${at - 6}" y="${y + 14}" text-anchor="end" font-size="10">${text}</text>`
    : `<text x="${at + 6}" y="${y + 14}" font-size="10">${text}</text>`
}
