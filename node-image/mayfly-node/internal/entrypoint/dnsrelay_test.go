package entrypoint

import "testing"

func TestOnlyPodsThatReachNoServerNeedARelay(t *testing.T) {
	const ipv4Server, ipv6Server = "search a.test\nnameserver 172.18.0.1\nnameserver 8.8.8.8\n", "nameserver fd00::53\n"
	for _, test := range []struct {
		name       string
		resolvConf string
		podCIDRs   []string
		want       string
	}{
		{"IPv6 only", ipv4Server, []string{"fd00:10:244::/64"}, "172.18.0.1"},
		{"a server with an IPv6 address", ipv4Server + ipv6Server, []string{"fd00:10:244::/64"}, "invalid IP"},
		{"no server", "search a.test\n", []string{"fd00:10:244::/64"}, "invalid IP"},
		{"IPv4", ipv4Server, []string{"10.244.0.0/24"}, "invalid IP"},
		{"both families", ipv4Server, []string{"fd00:10:244::/64", "10.244.0.0/24"}, "invalid IP"},
		{"pods of a network that is not ours", ipv4Server, nil, "invalid IP"},
	} {
		if got, err := serverToRelay(test.resolvConf, test.podCIDRs); err != nil || got.String() != test.want {
			t.Errorf("%s: got %s, %v", test.name, got, err)
		}
	}
}
