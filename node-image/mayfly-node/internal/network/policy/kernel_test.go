package policy

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mayfly.io/node-image/mayfly-node/internal/network/netnstest"
)

// kernel is node one of the test cluster, with a namespace for each pod on it,
// and one more beyond its uplink for all the rest: node two's pods and the
// world.
type kernel struct {
	node     *netnstest.Namespace
	outside  *netnstest.Namespace
	pods     map[netip.Addr]*netnstest.Namespace
	enforcer *Enforcer
	served   map[string]bool
}

func newKernel(t *testing.T) *kernel {
	k := &kernel{
		node: netnstest.New(t), outside: netnstest.New(t),
		pods: map[netip.Addr]*netnstest.Namespace{}, served: map[string]bool{},
	}
	k.node.Forward(t)
	netnstest.Link(t, k.node, "eth0", k.outside, "eth0")
	k.node.IP(t, "addr add 172.31.0.1/24 dev eth0")
	k.node.IP(t, "addr add fd99::1/64 dev eth0 nodad")
	k.node.IP(t, "route add default via 172.31.0.2")
	k.node.IP(t, "route add default via fd99::2")
	k.outside.IP(t, "addr add 172.31.0.2/24 dev eth0")
	k.outside.IP(t, "addr add fd99::2/64 dev eth0 nodad")
	k.outside.IP(t, "route add 10.0.1.0/24 via 172.31.0.1")
	k.outside.IP(t, "route add fd00::1:0/112 via fd99::1")
	for i, pod := range testPods {
		if len(pod.IPs) == 0 {
			continue
		}
		if pod.Node != "one" {
			k.outside.IP(t, "addr add "+pod.IPs[0].String()+"/32 dev lo")
			k.outside.IP(t, "addr add "+pod.IPs[1].String()+"/128 dev lo")
			continue
		}
		// As the plugin ptp does it.
		link := "pod" + string(rune('0'+i))
		ns := netnstest.New(t)
		netnstest.Link(t, k.node, link, ns, "eth0")
		k.node.IP(t, "addr add 10.0.1.254/32 dev "+link)
		k.node.IP(t, "addr add fd00::1:fe/128 dev "+link+" nodad")
		k.node.IP(t, "route add "+pod.IPs[0].String()+" dev "+link)
		k.node.IP(t, "route add "+pod.IPs[1].String()+" dev "+link)
		ns.IP(t, "addr add "+pod.IPs[0].String()+"/32 dev eth0")
		ns.IP(t, "addr add "+pod.IPs[1].String()+"/128 dev eth0 nodad")
		ns.IP(t, "route add default via 10.0.1.254 dev eth0 onlink")
		ns.IP(t, "route add default via fd00::1:fe dev eth0 onlink")
		for _, ip := range pod.IPs {
			k.pods[ip] = ns
		}
	}
	for _, address := range []string{outside, outside2, "192.0.2.63", "192.0.2.64", "192.0.2.100", "192.0.2.127", "192.0.2.128", "198.51.100.1"} {
		k.outside.IP(t, "addr add "+address+"/32 dev lo")
	}
	for _, address := range []string{"fd00::99", "fd00::1"} {
		k.outside.IP(t, "addr add "+address+"/128 dev lo")
	}
	k.enforcer = k.newEnforcer(t)
	return k
}

func (k *kernel) newEnforcer(t *testing.T) *Enforcer {
	t.Helper()
	var enforcer *Enforcer
	if err := k.node.Do(func() (err error) { enforcer, err = NewEnforcer(); return err }); err != nil {
		t.Skipf("no nftables on this host: %v", err)
	}
	return enforcer
}

func (k *kernel) apply(t *testing.T, enforcer *Enforcer, plan Plan) {
	t.Helper()
	if err := k.node.Do(func() error { return enforcer.Apply(context.Background(), plan) }); err != nil {
		t.Fatal(err)
	}
}

// at is the namespace that has an address; ok is false for one that is nowhere.
func (k *kernel) at(ip netip.Addr) (ns *netnstest.Namespace, ok bool) {
	if ns, ok := k.pods[ip]; ok {
		return ns, true
	}
	for _, prefix := range []string{"10.0.2.0/24", "192.0.2.0/24", "198.51.100.0/24", "fd00::2:0/112", "fd00::/112", "172.31.0.2/32"} {
		if netip.MustParsePrefix(prefix).Contains(ip) {
			return k.outside, true
		}
	}
	return nil, false
}

// passes makes real connections, all at once, and says which were answered. A
// try with an end that nobody has, or of a protocol that Go lacks, is left out.
func (k *kernel) passes(t *testing.T, tries []kernelTry) map[kernelTry]bool {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	passed := map[kernelTry]bool{}
	for _, try := range tries {
		source, destination, protocol, port := parseTry(t, try.text, try.familyIndex)
		network := strings.ToLower(string(protocol))
		from, fromKnown := k.at(source)
		to, toKnown := k.at(destination)
		if source.Is4() != destination.Is4() || !fromKnown || !toKnown || network == "sctp" {
			continue
		}
		target := netip.AddrPortFrom(destination, port)
		if key := network + target.String(); !k.served[key] {
			k.served[key] = true
			to.Serve(t, network, target)
		}
		wg.Go(func() {
			_, err := from.Ask(network, source, target, 300*time.Millisecond)
			if err != nil && !errors.Is(err, netnstest.ErrNoAnswer) {
				t.Errorf("%s: %v", try.text, err)
			}
			mu.Lock()
			defer mu.Unlock()
			passed[try] = err == nil
		})
	}
	wg.Wait()
	return passed
}

type kernelTry struct {
	text        string
	familyIndex int // 0 for IPv4, 1 for IPv6
}

// Each plan follows on the one before in the same kernel, as in a node's life.
func TestKernel(t *testing.T) {
	k := newKernel(t)
	tried := 0
	for _, test := range planTests {
		plan := NewPlan("one", testPods, testNamespaces, testPolicies(t, test.policies))
		k.apply(t, k.enforcer, plan)
		var tries []kernelTry
		for _, text := range slices.Concat(test.pass, test.refused) {
			if !strings.Contains(text, "fd00") {
				tries = append(tries, kernelTry{text, 0})
			}
			if !test.only4 {
				tries = append(tries, kernelTry{text, 1})
			}
		}
		for try, got := range k.passes(t, tries) {
			tried++
			if want := slices.Contains(test.pass, try.text); got != want {
				t.Errorf("%s: IPv%d: %s passes: %v, want %v", test.name, 4+2*try.familyIndex, try.text, got, want)
			}
		}
		stepwise := k.table(t)
		k.apply(t, k.newEnforcer(t), plan)
		if afresh := k.table(t); !reflect.DeepEqual(stepwise, afresh) {
			t.Errorf("%s: applied to what was there\n%s\napplied afresh\n%s", test.name, pretty(stepwise), pretty(afresh))
		}
	}
	if tried < 100 {
		t.Errorf("only %d connections tried", tried)
	}
	k.apply(t, k.enforcer, Plan{})
	if left := k.table(t); len(left) > 0 {
		t.Errorf("without policies there is still\n%s", pretty(left))
	}
}

func TestKernelLetsTheNodeAndEstablishedConnectionsPass(t *testing.T) {
	k := newKernel(t)
	target := netip.AddrPortFrom(web.IPs[0], 8080)
	k.pods[web.IPs[0]].Serve(t, "udp", target)
	k.pods[web.IPs[0]].Serve(t, "tcp", target)

	k.apply(t, k.enforcer, NewPlan("one", testPods, testNamespaces, testPolicies(t, `spec: {podSelector: {}, policyTypes: [Ingress, Egress]}`)))
	// Kubelet's probes come from the node's address on the pod's own link.
	for _, network := range []string{"tcp", "udp"} {
		if _, err := k.node.Ask(network, netip.MustParseAddr("10.0.1.254"), target, 300*time.Millisecond); err != nil {
			t.Errorf("%s from the node to its pod: %v", network, err)
		}
	}
	node := netip.MustParseAddrPort("172.31.0.1:7000")
	k.node.Serve(t, "tcp", node)
	if _, err := k.pods[web.IPs[0]].Ask("tcp", web.IPs[0], node, 300*time.Millisecond); err != nil {
		t.Errorf("from the pod to its node: %v", err)
	}
	if _, err := k.pods[db.IPs[0]].Ask("tcp", db.IPs[0], target, 300*time.Millisecond); !errors.Is(err, netnstest.ErrNoAnswer) {
		t.Errorf("from the other pod: %v, want no answer", err)
	}
}

// A policy for a Service's pods is for what comes through the Service as well.
func TestKernelJudgesTheAddressBehindAService(t *testing.T) {
	k := newKernel(t)
	k.node.Run(t, "nft add table ip services")
	k.node.Run(t, "nft add chain ip services prerouting { type nat hook prerouting priority dstnat ; }")
	k.node.Run(t, "nft add chain ip services postrouting { type nat hook postrouting priority srcnat ; }")
	k.node.Run(t, "nft add rule ip services prerouting ip daddr 10.96.0.7 tcp dport 80 dnat to 10.0.1.1:8080")
	k.node.Run(t, "nft add rule ip services postrouting ct status dnat masquerade")
	service := netip.MustParseAddrPort("10.96.0.7:80")
	k.pods[web.IPs[0]].Serve(t, "tcp", netip.AddrPortFrom(web.IPs[0], 8080))
	k.apply(t, k.enforcer, NewPlan("one", testPods, testNamespaces, testPolicies(t, `
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: http}]}]}
`)))
	for _, test := range []struct {
		name string
		pod  Pod
		want bool
	}{
		{"a pod that may", db, true},
		{"a pod that may not", opsWeb, false},
		{"the pod itself", web, true},
	} {
		_, err := k.pods[test.pod.IPs[0]].Ask("tcp", test.pod.IPs[0], service, 300*time.Millisecond)
		if got := err == nil; got != test.want {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// table is the whole of our table in the kernel: chain -> rules in order,
// set -> elements.
func (k *kernel) table(t *testing.T) map[string][]string {
	t.Helper()
	var out []byte
	err := k.node.Do(func() (err error) {
		out, err = exec.Command("nft", "--json", "list", "ruleset").Output()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var listing struct {
		Nftables []map[string]map[string]any `json:"nftables"`
	}
	if err := json.Unmarshal(out, &listing); err != nil {
		t.Fatal(err)
	}
	text := func(value any) string {
		encoded, _ := json.Marshal(value)
		return string(encoded)
	}
	table := map[string][]string{}
	for _, entry := range listing.Nftables {
		for kind, object := range entry {
			if object["family"] != "inet" {
				continue
			}
			delete(object, "handle")
			switch kind {
			case "rule":
				chain := "chain " + object["chain"].(string)
				table[chain] = append(table[chain], text(object["expr"]))
			case "chain":
				chain := "chain " + object["name"].(string)
				table[chain] = append(table[chain], text(object))
			case "set", "map":
				elements, _ := object["elem"].([]any)
				delete(object, "elem")
				lines := []string{text(object)}
				for _, element := range elements {
					lines = append(lines, text(element))
				}
				slices.Sort(lines)
				table[kind+" "+object["name"].(string)] = lines
			}
		}
	}
	return table
}

func pretty(table map[string][]string) string {
	encoded, _ := json.MarshalIndent(table, "", "  ")
	return string(encoded)
}
