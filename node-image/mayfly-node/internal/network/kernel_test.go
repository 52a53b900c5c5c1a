package network

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mayfly.io/node-image/mayfly-node/internal/network/netnstest"
)

var quiet = slog.New(slog.DiscardHandler)

func routes(t *testing.T, want ...string) map[netip.Prefix]netip.Addr {
	t.Helper()
	parsed := map[netip.Prefix]netip.Addr{}
	for _, route := range want {
		destination, gateway, _ := strings.Cut(route, " via ")
		parsed[netip.MustParsePrefix(destination)] = netip.MustParseAddr(gateway)
	}
	return parsed
}

// lan is a node's namespace on the nodes' network, with a second one there.
func lan(t *testing.T) (node, other *netnstest.Namespace) {
	node, other = netnstest.New(t), netnstest.New(t)
	netnstest.Link(t, node, "eth0", other, "eth0")
	for i, ns := range []*netnstest.Namespace{node, other} {
		ns.Forward(t)
		ns.IP(t, "addr add "+[]string{"172.31.0.2/24", "172.31.0.3/24"}[i]+" dev eth0")
		ns.IP(t, "addr add "+[]string{"fd99::2/64", "fd99::3/64"}[i]+" dev eth0 nodad")
	}
	return node, other
}

func ourRoutes(t *testing.T, ns *netnstest.Namespace) string {
	t.Helper()
	var found []string
	for _, command := range []string{"-4 route show proto 109", "-6 route show proto 109"} {
		for line := range strings.Lines(ns.IP(t, command)) {
			fields := strings.Fields(line)
			found = append(found, strings.Join(fields[:3], " "))
		}
	}
	return strings.Join(found, ", ")
}

func TestEnsureRoutes(t *testing.T) {
	node, _ := lan(t)
	node.IP(t, "route add 10.7.0.0/24 via 172.31.0.9") // somebody else's
	ensure := func(want ...string) error {
		t.Helper()
		return node.Do(func() error { return ensureRoutes(quiet, routes(t, want...)) })
	}
	for _, step := range []struct {
		name string
		want []string
		have string
	}{
		{"nothing", nil, ""},
		{"both families", []string{"10.244.1.0/24 via 172.31.0.3", "fd00:10:244:1::/64 via fd99::3"}, "10.244.1.0/24 via 172.31.0.3, fd00:10:244:1::/64 via fd99::3"},
		{"the same again", []string{"10.244.1.0/24 via 172.31.0.3", "fd00:10:244:1::/64 via fd99::3"}, "10.244.1.0/24 via 172.31.0.3, fd00:10:244:1::/64 via fd99::3"},
		{"the node has other addresses", []string{"10.244.1.0/24 via 172.31.0.4", "fd00:10:244:1::/64 via fd99::4"}, "10.244.1.0/24 via 172.31.0.4, fd00:10:244:1::/64 via fd99::4"},
		{"another node", []string{"10.244.2.0/24 via 172.31.0.4"}, "10.244.2.0/24 via 172.31.0.4"},
		{"no node", nil, ""},
	} {
		if err := ensure(step.want...); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got := ourRoutes(t, node); got != step.have {
			t.Errorf("%s: got %s, want %s", step.name, got, step.have)
		}
	}
	if !strings.Contains(node.IP(t, "route"), "10.7.0.0/24 via 172.31.0.9") {
		t.Error("a route that is not ours was removed")
	}

	err := ensure("10.244.1.0/24 via 203.0.113.9", "10.244.2.0/24 via 172.31.0.4")
	if err == nil || !strings.Contains(err.Error(), "10.244.1.0/24 via 203.0.113.9") {
		t.Errorf("a gateway that is out of reach: %v", err)
	}
	if got := ourRoutes(t, node); got != "10.244.2.0/24 via 172.31.0.4" {
		t.Errorf("the reachable node's route beside an unreachable one: got %q", got)
	}
}

func TestLostRoutesAreNoticed(t *testing.T) {
	node, other := lan(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var disturbed <-chan struct{}
	_ = node.Do(func() error { disturbed = watchRoutes(ctx, quiet); return nil })
	noticed := func() bool {
		select {
		case <-disturbed:
			return true
		case <-time.After(200 * time.Millisecond):
			return false
		}
	}
	want := routes(t, "10.244.1.0/24 via 172.31.0.3")
	if err := node.Do(func() error { return ensureRoutes(quiet, want) }); err != nil {
		t.Fatal(err)
	}
	node.IP(t, "route add 10.7.0.0/24 via 172.31.0.9")
	node.IP(t, "route delete 10.7.0.0/24")
	netnstest.Link(t, node, "pod", other, "pod")
	for noticed() {
		// The new interface has an IPv6 network of its own, which may count.
	}
	node.IP(t, "addr add 10.244.0.1/32 dev pod")
	node.IP(t, "route add 10.244.0.5 dev pod")
	if noticed() {
		t.Error("a new pod's route counts as a disturbance")
	}
	node.IP(t, "route delete 10.244.1.0/24")
	if !noticed() {
		t.Error("a deleted route of ours is not noticed")
	}
	if noticed() {
		t.Error("more than one notice")
	}
	node.IP(t, "link set eth0 down")
	node.IP(t, "link set eth0 up")
	if !noticed() {
		t.Error("an interface that was down, and so lost its routes, is not noticed")
	}
}

func TestDefaultMTU(t *testing.T) {
	node, other := lan(t)
	mtu := func() (got int) {
		t.Helper()
		if err := node.Do(func() (err error) { got, err = defaultMTU(); return err }); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := mtu(); got != 0 {
		t.Errorf("without a default route: %d", got)
	}
	node.IP(t, "link set eth0 mtu 1400")
	node.IP(t, "-6 route add default via fd99::3")
	if got := mtu(); got != 1400 {
		t.Errorf("IPv6 alone: %d", got)
	}
	netnstest.Link(t, node, "eth1", other, "eth1")
	node.IP(t, "link set eth1 mtu 1300")
	node.IP(t, "route add default dev eth1 metric 50")
	node.IP(t, "route add default via 172.31.0.3 metric 10")
	if got := mtu(); got != 1400 {
		t.Errorf("the better of two: %d", got)
	}
}

// What a pod sends into the world carries its node's address, what it sends to
// a pod its own.
func TestMasquerade(t *testing.T) {
	node, other := lan(t)
	pod := netnstest.New(t)
	netnstest.Link(t, node, "pod", pod, "eth0")
	node.IP(t, "addr add 10.244.0.1/32 dev pod")
	node.IP(t, "addr add fd00:10:244::1/128 dev pod nodad")
	node.IP(t, "route add 10.244.0.5 dev pod")
	node.IP(t, "route add fd00:10:244::5 dev pod")
	pod.IP(t, "addr add 10.244.0.5/32 dev eth0")
	pod.IP(t, "addr add fd00:10:244::5/128 dev eth0 nodad")
	pod.IP(t, "route add default via 10.244.0.1 dev eth0 onlink")
	pod.IP(t, "route add default via fd00:10:244::1 dev eth0 onlink")
	node.IP(t, "route add default via 172.31.0.3")
	node.IP(t, "route add default via fd99::3")
	other.IP(t, "route add 10.244.0.0/24 via 172.31.0.2")
	other.IP(t, "route add fd00:10:244::/64 via fd99::2")
	for _, address := range []string{"192.0.2.10/32", "10.244.1.7/32", "2001:db8::10/128", "fd00:10:244:1::7/128", "10.9.0.7/32"} {
		other.IP(t, "addr add "+address+" dev lo")
	}
	m := newMasquerade(quiet)
	if m.nft == nil {
		t.Skip("no nftables on this host")
	}
	ensure := func(pods ...string) {
		t.Helper()
		if err := node.Do(func() error { return m.ensure(t.Context(), prefixes(pods...)) }); err != nil {
			t.Fatal(err)
		}
	}
	seenBy := func(source, destination string) string {
		t.Helper()
		target := netip.AddrPortFrom(netip.MustParseAddr(destination), 80)
		seen, err := pod.Ask("tcp", netip.MustParseAddr(source), target, time.Second)
		if err != nil {
			t.Errorf("%s to %s: %v", source, destination, err)
		}
		return seen.Addr().String()
	}
	for _, address := range []string{"192.0.2.10", "10.244.1.7", "2001:db8::10", "fd00:10:244:1::7", "10.9.0.7", "172.31.0.3"} {
		other.Serve(t, "tcp", netip.AddrPortFrom(netip.MustParseAddr(address), 80))
	}
	ensure("10.244.0.0/16", "fd00:10:244::/56")
	for _, test := range []struct{ name, from, to, seen string }{
		{"into the world", "10.244.0.5", "192.0.2.10", "172.31.0.2"},
		{"to another node", "10.244.0.5", "172.31.0.3", "172.31.0.2"},
		{"to a pod of another node", "10.244.0.5", "10.244.1.7", "10.244.0.5"},
		{"into the world by IPv6", "fd00:10:244::5", "2001:db8::10", "fd99::2"},
		{"to a pod of another node by IPv6", "fd00:10:244::5", "fd00:10:244:1::7", "fd00:10:244::5"},
	} {
		if got := seenBy(test.from, test.to); got != test.seen {
			t.Errorf("%s: comes from %s, want %s", test.name, got, test.seen)
		}
	}
	if got := seenBy("10.244.0.5", "10.9.0.7"); got != "172.31.0.2" {
		t.Errorf("to a subnet that is no node's yet: comes from %s", got)
	}
	ensure("10.9.0.0/24", "10.244.0.0/16", "fd00:10:244::/56")
	if got := seenBy("10.244.0.5", "10.9.0.7"); got != "10.244.0.5" {
		t.Errorf("to a subnet that a node brought along: comes from %s", got)
	}
}

// A node without nftables still has routes.
func TestWithoutNftables(t *testing.T) {
	node, _ := lan(t)
	t.Setenv("PATH", t.TempDir())
	m := newMasquerade(quiet)
	if err := m.ensure(t.Context(), prefixes("10.244.0.0/16")); err != nil || m.nft != nil {
		t.Errorf("masquerading without nft: %v", err)
	}
	n := &nodeNetwork{log: quiet, nodeName: "one", cniConfigPath: t.TempDir() + "/x.conflist"}
	nodes := newMirror(toNode)
	nodes.items["/two"] = toNodeWith("two", "10.244.1.0/24", "172.31.0.3")
	close(nodes.synced)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_ = node.Do(func() error { n.keep(ctx, nodes, cancel); return nil })
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Error("never ready")
	}
}

func toNodeWith(name, podCIDR, internalIP string) node {
	return node{name, prefixes(podCIDR), addrs(internalIP)}
}
