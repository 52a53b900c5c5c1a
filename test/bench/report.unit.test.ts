import { expect, test } from 'vitest'
import { updatePage } from '../../bench/page.ts'
import { addRound, type Comparison } from '../../bench/report.ts'

const rows = {
  'boot-1': { unit: 's', note: 'one node' },
  'boot-ha': { unit: 's', note: 'three control planes' },
  fit: { unit: 'clusters', note: 'side by side' },
} as const
const kind = (figures: Record<string, number>) => ({ name: 'kind v0', figures })

function afterRounds(...rounds: Parameters<typeof addRound>[2][]): Comparison[] {
  return rounds.reduce<Comparison[]>((results, round) => addRound(results, rows, round), [])
}

test('rounds are compared pair by pair', () => {
  const results = afterRounds(
    { mayfly: { 'boot-1': 5 }, peer: kind({ 'boot-1': 30 }), date: '2026-01-01' },
    { mayfly: { 'boot-1': 10 }, peer: kind({ 'boot-1': 30 }), date: '2026-01-01' },
    { mayfly: { 'boot-1': 6 }, peer: kind({ 'boot-1': 24 }), date: '2026-01-02' },
  )
  expect(results).toEqual([
    {
      name: 'boot-1',
      unit: 's',
      mayfly: { median: 6, min: 5, max: 10 },
      peer: { name: 'kind v0', median: 30, min: 24, max: 30 },
      ratio: 4,
      date: '2026-01-02',
      rounds: [
        { mayfly: 5, peer: 30 },
        { mayfly: 10, peer: 30 },
        { mayfly: 6, peer: 24 },
      ],
    },
  ])
})

test('of a count more is better, and what kind can not do has no ratio', () => {
  const results = afterRounds({
    mayfly: { fit: 20, 'boot-ha': 9 },
    peer: kind({ fit: 10 }),
    date: '2026-01-01',
  })
  expect(results.map(({ name, ratio, peer }) => [name, ratio, peer?.median])).toEqual([
    ['boot-ha', undefined, undefined],
    ['fit', 2, 10],
  ])
})

test('the page keeps the rows that were not measured, those of another host among them', () => {
  const old = afterRounds({ mayfly: { 'boot-1': 8, 'boot-ha': 9 }, date: '2026-01-01' })
  const fresh = afterRounds({ mayfly: { 'boot-1': 6 }, peer: kind({ 'boot-1': 30 }), date: '2026-02-02' })
  const first = updatePage(updatePage('# Benchmarks', 'small host', old, rows), 'big host', old, rows)
  const page = updatePage(first, 'big host', fresh, rows)

  const tables = page.match(/^(## .* host|\| `.*)$/gm)
  expect(tables).toEqual([
    '## small host',
    '| `boot-1` | 8 s | – | – | 1 | 2026-01-01 |',
    '| `boot-ha` | 9 s | – | – | 1 | 2026-01-01 |',
    '## big host',
    '| `boot-1` | 6 s | 30 s | 5 | 1 | 2026-02-02 |',
    '| `boot-ha` | 9 s | – | – | 1 | 2026-01-01 |',
  ])
})
