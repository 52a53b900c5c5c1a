import { expect, test } from 'vitest'
import { explainPullPolicy } from '../../src/images/index.ts'

const deployment = (containers: object[], more: object = {}) => ({
  kind: 'Deployment',
  metadata: { name: 'web' },
  spec: { template: { spec: { containers, ...more } } },
})

test('a loaded image with imagePullPolicy Always is explained', () => {
  const object = deployment([{ name: 'app', image: 'app:dev', imagePullPolicy: 'Always' }])
  expect(explainPullPolicy([object], ['docker.io/library/app:dev'])).toEqual([
    'Container "app" of Deployment "web" will not use the loaded image "app:dev": its imagePullPolicy is Always, so the ' +
      'kubelet asks a registry for it; set imagePullPolicy: IfNotPresent',
  ])
})

test('the tag latest means Always when nothing is said', () => {
  const [warning] = explainPullPolicy([deployment([{ name: 'app', image: 'app' }])], ['app:latest'])
  expect(warning).toContain('its tag is latest and it has no imagePullPolicy, which means Always')
})

test.each([
  ['a policy that uses what is there', { image: 'app', imagePullPolicy: 'IfNotPresent' }],
  ['a tag of its own', { image: 'app:dev' }],
  ['an image that was not loaded', { image: 'other:dev', imagePullPolicy: 'Always' }],
  ['a digest', { image: `app@sha256:${'ab'.repeat(32)}` }],
])('%s needs no explanation', (_, container) => {
  const loaded = ['app:latest', 'app:dev', `app@sha256:${'ab'.repeat(32)}`]
  expect(explainPullPolicy([deployment([{ name: 'app', ...container }])], loaded)).toEqual([])
})

test('init containers, bare pod specs and templates anywhere in an object are looked at', () => {
  const always = { name: 'a', image: 'app:dev', imagePullPolicy: 'Always' }
  const objects = [
    deployment([], { initContainers: [always] }),
    { containers: [always] },
    { kind: 'CronJob', spec: { jobTemplate: { spec: { template: { spec: { containers: [always] } } } } } },
    null,
  ]
  expect(explainPullPolicy(objects, ['app:dev'])).toHaveLength(3)
  expect(explainPullPolicy([{ containers: [always] }], ['app:dev'])[0]).toContain('of the pod will not')
})
