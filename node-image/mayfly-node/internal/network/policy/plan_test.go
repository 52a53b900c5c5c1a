package policy

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The cluster of these tests. Node one is the node that plans are made for.
//
//	shop/web     one   10.0.1.1   app=web   http=TCP 8080, metrics=TCP 9090
//	shop/db      one   10.0.1.2   app=db    sql=TCP 5432, sync=UDP 5432
//	shop/job     two   10.0.2.1   app=job   http=TCP 3000
//	ops/monitor  two   10.0.2.2   app=monitor
//	ops/web      one   10.0.1.3   app=web
//	ops/agent    one   uses its node's address
//
// and each has fd00::a.b beside 10.0.a.b.
var (
	web     = testPod("shop/web", "one", "1.1", "app=web", "http/TCP/8080 metrics/TCP/9090")
	db      = testPod("shop/db", "one", "1.2", "app=db", "sql/TCP/5432 sync/UDP/5432")
	job     = testPod("shop/job", "two", "2.1", "app=job", "http/TCP/3000")
	monitor = testPod("ops/monitor", "two", "2.2", "app=monitor", "")
	opsWeb  = testPod("ops/web", "one", "1.3", "app=web", "")
	agent   = Pod{Namespace: "ops", Name: "agent", Node: "one"}

	testPods       = []Pod{web, db, job, monitor, opsWeb, agent}
	testNamespaces = []Namespace{
		{Name: "shop", Labels: map[string]string{"kubernetes.io/metadata.name": "shop", "team": "a"}},
		{Name: "ops", Labels: map[string]string{"kubernetes.io/metadata.name": "ops", "team": "b"}},
	}
)

const (
	outside  = "192.0.2.10"
	outside2 = "192.0.2.77"
)

func testPod(name, node, address, podLabels, ports string) Pod {
	namespace, name, _ := strings.Cut(name, "/")
	pod := Pod{Namespace: namespace, Name: name, Node: node, Labels: map[string]string{}}
	pod.IPs = []netip.Addr{
		netip.MustParseAddr("10.0." + address),
		netip.MustParseAddr("fd00::" + strings.Replace(address, ".", ":", 1)),
	}
	for label := range strings.SplitSeq(podLabels, ",") {
		key, value, _ := strings.Cut(label, "=")
		pod.Labels[key] = value
	}
	for port := range strings.FieldsSeq(ports) {
		fields := strings.Split(port, "/")
		number := netip.MustParseAddrPort("0.0.0.0:" + fields[2]).Port()
		pod.NamedPorts = append(pod.NamedPorts, NamedPort{fields[0], corev1.Protocol(fields[1]), number})
	}
	return pod
}

// testPolicies reads policies as users write them, less apiVersion and kind;
// their namespace is shop unless they say otherwise.
func testPolicies(t *testing.T, manifests string) []Policy {
	t.Helper()
	var policies []Policy
	for i, manifest := range strings.Split(manifests, "---\n") {
		var object networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(strings.ReplaceAll(manifest, "\t", "  ")), &object); err != nil {
			t.Fatalf("%v in\n%s", err, manifest)
		}
		if object.Namespace == "" {
			object.Namespace = "shop"
		}
		if object.Name == "" {
			object.Name = string(rune('a' + i))
		}
		policies = append(policies, PolicyFrom(&object))
	}
	return policies
}

// passes interprets a plan for one new connection, as the kernel does its rules.
func (p Plan) passes(source, destination netip.Addr, protocol corev1.Protocol, port uint16) bool {
	family := p.V4
	if source.Is6() {
		family = p.V6
	}
	if source == destination {
		return true
	}
	return family.permits(family.Egress[source], destination, destination, protocol, port) &&
		family.permits(family.Ingress[destination], source, destination, protocol, port)
}

func (f FamilyPlan) permits(isolation string, peer, destination netip.Addr, protocol corev1.Protocol, port uint16) bool {
	if isolation == "" {
		return true
	}
	for _, clause := range f.Isolations[isolation].Clauses {
		for _, rule := range f.Clauses[clause].Rules {
			peerMatches := rule.AnyPeer || slices.Contains(f.PodSets[rule.PodSet], peer) ||
				slices.ContainsFunc(rule.Blocks, func(r Range) bool { return !peer.Less(r.First) && !r.Last.Less(peer) })
			portMatches := rule.AnyPort ||
				slices.ContainsFunc(rule.Ports, func(r PortRange) bool {
					return r.Protocol == protocol && r.First <= port && port <= r.Last
				}) ||
				slices.ContainsFunc(rule.PortSets, func(name string) bool {
					set := f.PortSets[name]
					return set.Protocol == protocol && slices.Contains(set.Endpoints, netip.AddrPortFrom(destination, port))
				})
			if peerMatches && portMatches {
				return true
			}
		}
	}
	return false
}

// parseTry reads "shop/web > shop/db tcp/80". Whoever is no pod is an address.
func parseTry(t *testing.T, try string, familyIndex int) (source, destination netip.Addr, protocol corev1.Protocol, port uint16) {
	t.Helper()
	fields := strings.Fields(try)
	end := func(name string) netip.Addr {
		for _, pod := range testPods {
			if pod.Namespace+"/"+pod.Name == name {
				return pod.IPs[familyIndex]
			}
		}
		return netip.MustParseAddr(name)
	}
	name, number, _ := strings.Cut(fields[3], "/")
	return end(fields[0]), end(fields[2]), corev1.Protocol(strings.ToUpper(name)), netip.MustParseAddrPort("0.0.0.0:" + number).Port()
}

// planTests are judged twice: by the plan, and by the kernel that enforces it.
var planTests = []struct {
	name     string
	policies string
	pass     []string
	refused  []string
	only4    bool // the tries name IPv4 addresses
}{
	{
		name:     "a pod that no policy selects is free",
		policies: `spec: {podSelector: {matchLabels: {app: db}}}`,
		pass:     []string{"ops/monitor > shop/web tcp/80", "shop/web > ops/monitor udp/53"},
	},
	{
		name:     "no policy types and no egress rule: ingress alone is isolated, and nothing comes in",
		policies: `spec: {podSelector: {matchLabels: {app: web}}}`,
		pass:     []string{"shop/web > shop/db tcp/5432", "shop/web > ops/monitor tcp/1"},
		refused:  []string{"shop/db > shop/web tcp/8080", "ops/monitor > shop/web udp/1"},
	},
	{
		name:     "an empty pod selector selects the namespace's pods, and only them",
		policies: `spec: {podSelector: {}}`,
		pass:     []string{"ops/monitor > ops/web tcp/80"},
		refused:  []string{"shop/web > shop/db tcp/1", "ops/monitor > shop/web tcp/1", "ops/monitor > shop/db tcp/1"},
	},
	{
		name:     "a pod on another node is that node's business, and the egress of its peer here is not",
		policies: `spec: {podSelector: {matchLabels: {app: job}}}`,
		pass:     []string{"shop/web > shop/job tcp/1"},
	},
	{
		name:     "no policy types but egress rules: both are isolated",
		policies: `spec: {podSelector: {matchLabels: {app: web}}, egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}`,
		pass:     []string{"shop/web > shop/db tcp/5432"},
		refused:  []string{"shop/web > ops/monitor tcp/1", "shop/db > shop/web tcp/1"},
	},
	{
		name:     "policy type Egress alone leaves ingress free",
		policies: `spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}`,
		pass:     []string{"shop/db > shop/web tcp/1", "ops/monitor > shop/web tcp/1"},
		refused:  []string{"shop/web > shop/db tcp/1", "shop/web > fd00::99 tcp/1"},
	},
	{
		name:     "policy types name a direction that has no rules: nothing passes in that direction",
		policies: `spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], ingress: [{}]}`,
		pass:     []string{"ops/monitor > shop/web tcp/1"},
		refused:  []string{"shop/web > shop/db tcp/1"},
	},
	{
		name:     "an egress rule is of no account when policy types leave Egress out",
		policies: `spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], egress: [{ports: [{port: 1}]}]}`,
		pass:     []string{"shop/web > shop/db tcp/2"},
	},
	{
		name:     "an empty rule lets all in",
		policies: `spec: {podSelector: {matchLabels: {app: web}}, ingress: [{}]}`,
		pass:     []string{"shop/db > shop/web tcp/1", "ops/monitor > shop/web sctp/9"},
	},
	{
		name:     "a pod always reaches itself",
		policies: `spec: {podSelector: {}, policyTypes: [Ingress, Egress]}`,
		pass:     []string{"shop/web > shop/web tcp/8080"},
		refused:  []string{"shop/web > shop/db tcp/8080"},
	},
	{
		name:     "a pod selector alone means pods of the policy's own namespace",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`,
		pass:     []string{"shop/web > shop/db tcp/5432"},
		refused:  []string{"ops/web > shop/db tcp/5432", "shop/job > shop/db tcp/5432"},
	},
	{
		name:     "an empty pod selector as a peer means all pods of the policy's namespace",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}`,
		pass:     []string{"shop/web > shop/db tcp/1", "shop/job > shop/db tcp/1"},
		refused:  []string{"ops/web > shop/db tcp/1"},
	},
	{
		name:     "a namespace selector alone means all pods of those namespaces",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}`,
		pass:     []string{"ops/web > shop/db tcp/1", "ops/monitor > shop/db tcp/1"},
		refused:  []string{"shop/web > shop/db tcp/1"},
	},
	{
		name:     "an empty namespace selector means all namespaces, but pods only",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}`,
		pass:     []string{"ops/web > shop/db tcp/1", "shop/web > shop/db tcp/1"},
		refused:  []string{"fd00::99 > shop/db tcp/1"},
	},
	{
		name: "both selectors in one peer must match, in two peers either",
		policies: `
metadata: {name: both}
spec:
	podSelector: {matchLabels: {app: db}}
	ingress:
	- from:
		- namespaceSelector: {matchLabels: {team: b}}
			podSelector: {matchLabels: {app: web}}
---
metadata: {name: either}
spec:
	podSelector: {matchLabels: {app: web}}
	ingress:
	- from:
		- namespaceSelector: {matchLabels: {team: b}}
		- podSelector: {matchLabels: {app: db}}
`,
		pass:    []string{"ops/web > shop/db tcp/1", "ops/monitor > shop/web tcp/1", "shop/db > shop/web tcp/1"},
		refused: []string{"ops/monitor > shop/db tcp/1", "shop/web > shop/db tcp/1", "shop/job > shop/web tcp/1"},
	},
	{
		name: "match expressions",
		policies: `
spec:
	podSelector: {matchExpressions: [{key: app, operator: In, values: [db, cache]}]}
	ingress:
	- from:
		- namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [shop]}]}
		- podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: app, operator: NotIn, values: [web]}]}
`,
		pass:    []string{"ops/web > shop/db tcp/1", "shop/job > shop/db tcp/1", "ops/monitor > shop/web tcp/1"},
		refused: []string{"shop/web > shop/db tcp/1"},
	},
	{
		name: "policies add up",
		policies: `
spec: {podSelector: {matchLabels: {app: db}}}
---
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 5432}]}]}
---
spec: {podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}], ports: [{port: 9090}]}]}
`,
		pass:    []string{"shop/web > shop/db tcp/5432", "ops/monitor > shop/db tcp/9090", "ops/monitor > shop/web tcp/9090"},
		refused: []string{"shop/web > shop/db tcp/9090", "ops/monitor > shop/db tcp/5432", "shop/db > shop/web tcp/5432"},
	},
	{
		name: "both ends have a say",
		policies: `
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}
---
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 5432}]}]}
`,
		pass:    []string{"shop/web > shop/db tcp/5432", "shop/job > shop/db tcp/5432"},
		refused: []string{"shop/web > shop/db tcp/1", "shop/web > shop/job tcp/5432"},
	},
	{
		name: "ports: default protocol, ranges, other protocols, a protocol without a port",
		policies: `
spec:
	podSelector: {matchLabels: {app: db}}
	ingress:
	- ports: [{port: 5432}, {port: 8000, endPort: 8100}, {port: 53, protocol: UDP}, {protocol: SCTP}]
`,
		pass: []string{"shop/web > shop/db tcp/5432", "shop/web > shop/db tcp/8000", "shop/web > shop/db tcp/8100",
			"shop/web > shop/db udp/53", "shop/web > shop/db sctp/1", "shop/web > shop/db sctp/65535"},
		refused: []string{"shop/web > shop/db tcp/5433", "shop/web > shop/db tcp/7999", "shop/web > shop/db tcp/8101",
			"shop/web > shop/db udp/5432", "shop/web > shop/db tcp/53"},
	},
	{
		name:     "peers and ports of one rule must both match; another rule's do not help",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 1}]}, {from: [{podSelector: {matchLabels: {app: job}}}], ports: [{port: 2}]}]}`,
		pass:     []string{"shop/web > shop/db tcp/1", "shop/job > shop/db tcp/2"},
		refused:  []string{"shop/web > shop/db tcp/2", "shop/job > shop/db tcp/1"},
	},
	{
		name:     "a named port at ingress is what the selected pod calls so",
		policies: `spec: {podSelector: {}, ingress: [{ports: [{port: http}, {port: sql}, {port: sync, protocol: UDP}]}]}`,
		pass:     []string{"ops/monitor > shop/web tcp/8080", "ops/monitor > shop/db tcp/5432", "ops/monitor > shop/db udp/5432"},
		refused: []string{"ops/monitor > shop/web tcp/9090", "ops/monitor > shop/web tcp/3000",
			"ops/monitor > shop/db tcp/8080", "ops/monitor > shop/web udp/8080"},
	},
	{
		name:     "a named port at egress is what the other end calls so",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: http}]}]}`,
		pass:     []string{"shop/db > shop/web tcp/8080", "shop/db > shop/job tcp/3000"},
		refused:  []string{"shop/db > shop/web tcp/3000", "shop/db > shop/job tcp/8080", "shop/db > ops/web tcp/8080"},
	},
	{
		name:     "a port name that nobody has matches nothing",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: nosuch}]}]}`,
		refused:  []string{"shop/web > shop/db tcp/5432"},
	},
	{
		name:     "a block with exceptions, and a block inside the exception of another",
		only4:    true,
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.64/26]}}, {ipBlock: {cidr: 192.0.2.100/32}}]}]}`,
		pass:     []string{outside + " > shop/db tcp/1", "192.0.2.63 > shop/db tcp/1", "192.0.2.128 > shop/db tcp/1", "192.0.2.100 > shop/db tcp/1"},
		refused:  []string{outside2 + " > shop/db tcp/1", "192.0.2.64 > shop/db tcp/1", "192.0.2.127 > shop/db tcp/1", "198.51.100.1 > shop/db tcp/1", "shop/web > shop/db tcp/1"},
	},
	{
		name:     "a block at egress",
		only4:    true,
		policies: `spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}], ports: [{port: 443}]}]}`,
		pass:     []string{"shop/db > 192.0.2.10 tcp/443", "shop/db > 255.255.255.254 tcp/443", "shop/db > 0.0.0.1 tcp/443"},
		refused:  []string{"shop/db > 192.0.2.10 tcp/80", "shop/db > shop/web tcp/443"},
	},
	{
		name:     "a block that has everything taken out is nobody",
		only4:    true,
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.0/9, 10.128.0.0/9]}}]}]}`,
		refused:  []string{"shop/web > shop/db tcp/1"},
	},
	{
		name:     "a block of the other family is nobody in this one",
		only4:    true,
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{ipBlock: {cidr: "::/0"}}]}]}`,
		refused:  []string{"shop/web > shop/db tcp/1"},
	},
	{
		name:     "pods on the node's own address are neither selected nor peers",
		policies: `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {}}]}]}`,
		refused:  []string{"fd00::1 > shop/db tcp/1"},
	},
}

func TestPlan(t *testing.T) {
	for _, test := range planTests {
		t.Run(test.name, func(t *testing.T) {
			plan := NewPlan("one", testPods, testNamespaces, testPolicies(t, test.policies))
			for familyIndex, family := range []string{"IPv4", "IPv6"} {
				if test.only4 && family == "IPv6" {
					continue
				}
				check := func(tries []string, want bool) {
					for _, try := range tries {
						if family == "IPv4" && strings.Contains(try, "fd00") {
							continue
						}
						source, destination, protocol, port := parseTry(t, try, familyIndex)
						if got := plan.passes(source, destination, protocol, port); got != want {
							t.Errorf("%s: %s passes: %v, want %v", family, try, got, want)
						}
					}
				}
				check(test.pass, true)
				check(test.refused, false)
			}
		})
	}
}

// What a change of a pod costs depends on this: rules stay, elements change.
func TestPlanNamesDoNotDependOnPods(t *testing.T) {
	policies := testPolicies(t, `spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}]}`)
	before := NewPlan("one", testPods, testNamespaces, policies)
	more := append(slices.Clone(testPods), testPod("shop/web2", "two", "2.9", "app=web", ""))
	after := NewPlan("one", more, testNamespaces, policies)
	if !reflect.DeepEqual(before.V4.Clauses, after.V4.Clauses) || !reflect.DeepEqual(before.V4.Ingress, after.V4.Ingress) {
		t.Errorf("a new peer changed rules:\n%v\n%v", before.V4, after.V4)
	}
	if reflect.DeepEqual(before.V4.PodSets, after.V4.PodSets) {
		t.Error("the new peer is in no set")
	}
	none := NewPlan("one", []Pod{db}, testNamespaces, policies)
	if !reflect.DeepEqual(before.V4.Clauses, none.V4.Clauses) {
		t.Errorf("peers that went changed rules:\n%v\n%v", before.V4, none.V4)
	}
}

func TestPlanSharesChainsAndSets(t *testing.T) {
	pods := slices.Clone(testPods)
	for i := range 200 {
		pods = append(pods, testPod("shop/web", "one", "9."+string(rune('0'+i%10)), "app=web", ""))
	}
	plan := NewPlan("one", pods, testNamespaces, testPolicies(t, `
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}
---
spec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {}}]}], egress: [{to: [{podSelector: {}}]}]}
`))
	if n := len(plan.V4.Isolations); n != 3 { // web's ingress, db's ingress, everybody's egress
		t.Errorf("%d isolations, want 3: %v", n, plan.V4.Isolations)
	}
	if n := len(plan.V4.PodSets); n != 1 {
		t.Errorf("%d sets of pods, want 1", n)
	}
	if n := len(plan.V4.Clauses); n != 3 {
		t.Errorf("%d clauses, want 3", n)
	}
}

func TestPlanDoesNotDependOnOrder(t *testing.T) {
	policies := testPolicies(t, `
spec: {podSelector: {}, policyTypes: [Ingress, Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: http}, {port: 53, protocol: UDP}]}]}
---
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: db}}}, {namespaceSelector: {matchLabels: {team: b}}}]}]}
---
metadata: {namespace: ops}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}, {podSelector: {}}]}]}
`)
	want := NewPlan("one", testPods, testNamespaces, policies)
	for range 20 {
		pods, namespaces, shuffled := slices.Clone(testPods), slices.Clone(testNamespaces), slices.Clone(policies)
		rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
		rand.Shuffle(len(namespaces), func(i, j int) { namespaces[i], namespaces[j] = namespaces[j], namespaces[i] })
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if got := NewPlan("one", pods, namespaces, shuffled); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
}

func TestPodFrom(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName: "one",
			InitContainers: []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "early", ContainerPort: 1}}},
				{RestartPolicy: &always, Ports: []corev1.ContainerPort{{Name: "proxy", ContainerPort: 15001}}},
			},
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
				{Name: "http", ContainerPort: 8080}, {ContainerPort: 8081}, {Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
			}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.1.1"}, {IP: "fd00::1:1"}}},
	}
	want := Pod{
		Namespace: "shop", Name: "web", Node: "one", Labels: map[string]string{"app": "web"},
		IPs: []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fd00::1:1")},
		NamedPorts: []NamedPort{
			{"http", corev1.ProtocolTCP, 8080}, {"dns", corev1.ProtocolUDP, 53}, {"proxy", corev1.ProtocolTCP, 15001},
		},
	}
	if got := PodFrom(pod); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for name, change := range map[string]func(*corev1.Pod){
		"on the host's network": func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"succeeded":             func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"failed":                func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
	} {
		changed := pod.DeepCopy()
		change(changed)
		if got := PodFrom(changed); len(got.IPs) > 0 {
			t.Errorf("a pod %s counts with %v", name, got.IPs)
		}
	}
}

func TestBlockRanges(t *testing.T) {
	block := func(cidr string, except ...string) *networkingv1.IPBlock {
		return &networkingv1.IPBlock{CIDR: cidr, Except: except}
	}
	for _, test := range []struct {
		name   string
		blocks []*networkingv1.IPBlock
		is4    bool
		want   string
	}{
		{"plain", []*networkingv1.IPBlock{block("10.0.0.0/8")}, true, "10.0.0.0-10.255.255.255"},
		{"not aligned", []*networkingv1.IPBlock{block("10.1.2.3/8")}, true, "10.0.0.0-10.255.255.255"},
		{"overlapping and adjacent", []*networkingv1.IPBlock{block("10.0.1.0/24"), block("10.0.0.0/24"), block("10.0.0.128/25")}, true, "10.0.0.0-10.0.1.255"},
		{"exception in the middle", []*networkingv1.IPBlock{block("10.0.0.0/24", "10.0.0.4/30")}, true, "10.0.0.0-10.0.0.3 10.0.0.8-10.0.0.255"},
		{"exceptions at both ends", []*networkingv1.IPBlock{block("10.0.0.0/24", "10.0.0.0/25", "10.0.0.255/32")}, true, "10.0.0.128-10.0.0.254"},
		{"exception larger than the block", []*networkingv1.IPBlock{block("10.0.0.0/24", "10.0.0.0/8")}, true, ""},
		{"up to the last address", []*networkingv1.IPBlock{block("255.255.255.0/24"), block("255.255.255.255/32")}, true, "255.255.255.0-255.255.255.255"},
		{"other family", []*networkingv1.IPBlock{block("10.0.0.0/8")}, false, ""},
		{"IPv6", []*networkingv1.IPBlock{block("fd00::/16", "fd00::/17")}, false, "fd00:8000::-fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"all of IPv6", []*networkingv1.IPBlock{block("::/1"), block("8000::/1")}, false, "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, r := range blockRanges(test.blocks, test.is4) {
				got = append(got, r.First.String()+"-"+r.Last.String())
			}
			if joined := strings.Join(got, " "); joined != test.want {
				t.Errorf("got %q, want %q", joined, test.want)
			}
		})
	}
}
