import { expect, test } from 'vitest'
import { firstAddresses, subnetsOf } from '../../src/boot/addresses.ts'

test('the first addresses of a subnet, the network address left out', () => {
  expect(firstAddresses('172.28.5.0/24', 3)).toEqual(['172.28.5.1', '172.28.5.2', '172.28.5.3'])
  expect(firstAddresses('10.0.255.254/16', 1)).toEqual(['10.0.0.1'])
  expect(firstAddresses('10.0.0.254/31', 3)).toEqual(['10.0.0.255', '10.0.1.0', '10.0.1.1'])
})

test.each([
  ['fd00:10:96::/112', 'fd00:10:96::1'],
  ['fd12:0:0:3::/64', 'fd12:0:0:3::1'],
  ['2001:db8:0:1:1:1:1:0/112', '2001:db8:0:1:1:1:1:1'],
  ['::/64', '::1'],
  ['2001:0:0:1::/64', '2001:0:0:1::1'],
])('IPv6 addresses of %s are written by RFC 5952: %s', (cidr, first) => {
  expect(firstAddresses(cidr, 1)).toEqual([first])
})

test('subnets of a subnet, until there are no more', () => {
  const ofPods = subnetsOf('10.244.0.0/16', 24)
  expect([ofPods(0), ofPods(1), ofPods(255), ofPods(256)]).toEqual([
    '10.244.0.0/24',
    '10.244.1.0/24',
    '10.244.255.0/24',
    undefined,
  ])
  const ofIpv6Pods = subnetsOf('fd00:10:244::/56', 64)
  expect([ofIpv6Pods(0), ofIpv6Pods(10), ofIpv6Pods(256)]).toEqual([
    'fd00:10:244::/64',
    'fd00:10:244:a::/64',
    undefined,
  ])
})

test('a subnet holds one of its own size, and none that is larger', () => {
  const [same, larger] = [subnetsOf('10.1.2.0/26', 26), subnetsOf('10.1.2.0/26', 24)]
  expect([same(0), same(1), larger(0)]).toEqual(['10.1.2.0/26', undefined, undefined])
})
