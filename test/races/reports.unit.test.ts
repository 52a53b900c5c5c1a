import { expect, test } from 'vitest'
import { racesIn } from './reports.ts'

const report = (first: string, second: string) => `==================
WARNING: DATA RACE
Read at 0x00c000810f88 by goroutine 201:
  ${first}
      k8s.io/kubernetes@v1.37.2/pkg/proxy/config/config.go:327 +0x84
  somebody.who.called()
      somewhere.go:1 +0x1

Previous write at 0x00c000810f88 by goroutine 155:
  ${second}
      k8s.io/kubernetes@v1.37.2/pkg/proxy/config/config.go:304 +0x1fe6

Goroutine 201 (running) created at:
  k8s.io/apimachinery/pkg/util/wait.(*Group).Start()
==================
`
const asOfPod = (text: string) => text.replaceAll(/^/gm, '2026-11-30T01:30:49.400131919Z stderr F ')

test('each race is told once, whoever of the two came first, and in whatever log it stands', () => {
  const [a, b, c] = ['proxy.(*NodeConfig).handle()', 'proxy.(*NodeConfig).Register()', 'kubelet.sync()']
  const log = ['I1130 started', report(a, b), asOfPod(report(b, a)), 'E1130 all is well', report(a, c)].join(
    '\n',
  )
  expect(racesIn(log).map(({ functions }) => functions)).toEqual([
    [b, a],
    [a, c],
  ])
  expect(racesIn(log)[0]?.text).toMatch(/^WARNING: DATA RACE\n.*Group\)\.Start\(\)$/s)
})

test('a log without reports has none', () => {
  expect(racesIn('I1130 started\n==================\n')).toEqual([])
})
