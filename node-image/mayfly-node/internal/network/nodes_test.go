package network

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func prefixes(list ...string) []netip.Prefix {
	var parsed []netip.Prefix
	for _, p := range list {
		parsed = append(parsed, netip.MustParsePrefix(p))
	}
	return parsed
}

func addrs(list ...string) []netip.Addr {
	var parsed []netip.Addr
	for _, a := range list {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	return parsed
}

func TestToNode(t *testing.T) {
	got := toNode(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "one"},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.0.0/24", PodCIDRs: []string{"10.244.0.0/24", "fd00:10:244::/64"}},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "one"},
			{Type: corev1.NodeExternalIP, Address: "192.0.2.1"},
			{Type: corev1.NodeInternalIP, Address: "172.18.0.2"},
			{Type: corev1.NodeInternalIP, Address: "fc00::2"},
		}},
	})
	if got.name != "one" ||
		!slices.Equal(got.podCIDRs, prefixes("10.244.0.0/24", "fd00:10:244::/64")) ||
		!slices.Equal(got.internalIPs, addrs("172.18.0.2", "fc00::2")) {
		t.Errorf("got %v", got)
	}
	old := toNode(&corev1.Node{Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24"}})
	if !slices.Equal(old.podCIDRs, prefixes("10.244.0.0/24")) {
		t.Errorf("from podCIDR alone: got %v", old.podCIDRs)
	}
}

func TestRoutesTo(t *testing.T) {
	nodes := []node{
		{"one", prefixes("10.244.0.0/24", "fd00:10:244::/64"), addrs("172.18.0.2", "fc00::2")},
		{"dual-stack", prefixes("10.244.1.0/24", "fd00:10:244:1::/64"), addrs("fc00::3", "172.18.0.3", "172.18.0.33")},
		{"no-ipv6-address", prefixes("10.244.2.0/24", "fd00:10:244:2::/64"), addrs("172.18.0.4")},
		{"no-subnet-yet", nil, addrs("172.18.0.5")},
		{"no-address-yet", prefixes("10.244.3.0/24"), nil},
	}
	want := map[netip.Prefix]netip.Addr{
		netip.MustParsePrefix("10.244.1.0/24"):      netip.MustParseAddr("172.18.0.3"),
		netip.MustParsePrefix("fd00:10:244:1::/64"): netip.MustParseAddr("fc00::3"),
		netip.MustParsePrefix("10.244.2.0/24"):      netip.MustParseAddr("172.18.0.4"),
	}
	if got := routesTo(nodes, "one"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPodAddresses(t *testing.T) {
	nodes := []node{
		{"inside", prefixes("10.244.1.0/24", "fd00:10:244:1::/64"), nil},
		{"outside", prefixes("10.9.1.0/24"), nil},
		{"same-again", prefixes("10.9.1.0/24"), nil},
	}
	want := prefixes("10.9.1.0/24", "10.244.0.0/16", "fd00:10:244::/56")
	if got := podAddresses(nodes, prefixes("10.244.0.0/16", "fd00:10:244::/56")); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParsePrefixes(t *testing.T) {
	got, err := parsePrefixes("10.244.0.0/16, fd00:10:244::/56,")
	if err != nil || !slices.Equal(got, prefixes("10.244.0.0/16", "fd00:10:244::/56")) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := parsePrefixes("10.244.0.0"); err == nil {
		t.Errorf("an address is taken for a subnet: %v", got)
	}
}
