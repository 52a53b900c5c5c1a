package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Plan says which connections the pods of a node may make and take.
type Plan struct{ V4, V6 FamilyPlan }

// FamilyPlan is a Plan's half for IPv4 or IPv6.
//
// A pod's address leads to an isolation, which lists the policies that select
// the pod, by the name of their clauses. What no rule of any of them matches is
// refused; an address that is in neither map is free.
type FamilyPlan struct {
	Ingress, Egress map[netip.Addr]string // address of a pod on this node -> isolation
	Isolations      map[string]Isolation
	Clauses         map[string]Clause
	PodSets         map[string][]netip.Addr // what Rule.PodSet names, for pods of the whole cluster
	PortSets        map[string]PortSet      // what Rule.PortSets name
}

// Direction is seen from the pod that a policy selects.
type Direction string

const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Isolation is the lot of the pods that one and the same set of policies selects.
type Isolation struct {
	Direction Direction
	Clauses   []string
}

// Clause is all that one policy says about one direction.
type Clause struct {
	Direction Direction
	Rules     []Rule
}

// Rule matches a connection by its other end and by its destination port.
type Rule struct {
	AnyPeer bool
	PodSet  string  // "" for none
	Blocks  []Range // sorted, none overlapping

	AnyPort  bool
	Ports    []PortRange // sorted, none overlapping
	PortSets []string
}

// Range is a range of addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// PortRange is a range of ports, both ends included.
type PortRange struct {
	Protocol    corev1.Protocol
	First, Last uint16
}

// PortSet is where in the cluster a port of some name and protocol is.
type PortSet struct {
	Protocol  corev1.Protocol
	Endpoints []netip.AddrPort
}

// Empty says that no pod of the node is isolated.
func (p Plan) Empty() bool {
	return len(p.V4.Ingress)+len(p.V4.Egress)+len(p.V6.Ingress)+len(p.V6.Egress) == 0
}

// NewPlan decides for the pods of a node, by the rules of
// https://kubernetes.io/docs/concepts/services-networking/network-policies/
// The order of its arguments' elements makes no difference.
func NewPlan(nodeName string, pods []Pod, namespaces []Namespace, policies []Policy) Plan {
	p := planner{
		namespaces: make(map[string]labels.Set, len(namespaces)),
		plan:       Plan{newFamilyPlan(), newFamilyPlan()},
	}
	for _, namespace := range namespaces {
		p.namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range pods {
		if len(pod.IPs) == 0 {
			continue
		}
		p.pods = append(p.pods, pod)
		if pod.Node == nodeName {
			p.local = append(p.local, pod)
		}
	}
	policies = slices.Clone(policies)
	slices.SortFunc(policies, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	isolatedBy := map[Direction]map[netip.Addr][]string{Ingress: {}, Egress: {}}
	for _, policy := range policies {
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil {
			continue // the API server validates selectors
		}
		for _, direction := range directions(&policy.Spec) {
			name := clauseName(direction, policy)
			used := map[*FamilyPlan]bool{}
			for _, pod := range p.local {
				if pod.Namespace != policy.Namespace || !selector.Matches(pod.Labels) {
					continue
				}
				for _, ip := range pod.IPs {
					used[p.family(ip)] = true
					// For a moment two pods can have one address: one that is
					// deleted and the one that gets the address next.
					if by := isolatedBy[direction]; !slices.Contains(by[ip], name) {
						by[ip] = append(by[ip], name)
					}
				}
			}
			for family := range used {
				family.Clauses[name] = Clause{direction, p.rules(family, policy, direction)}
			}
		}
	}
	for direction, byIP := range isolatedBy {
		for ip, clauses := range byIP {
			family := p.family(ip)
			name := string(direction) + "-" + shortHash(clauses...)
			family.Isolations[name] = Isolation{direction, clauses}
			if direction == Ingress {
				family.Ingress[ip] = name
			} else {
				family.Egress[ip] = name
			}
		}
	}
	return p.plan
}

func newFamilyPlan() FamilyPlan {
	return FamilyPlan{
		Ingress: map[netip.Addr]string{}, Egress: map[netip.Addr]string{},
		Isolations: map[string]Isolation{}, Clauses: map[string]Clause{},
		PodSets: map[string][]netip.Addr{}, PortSets: map[string]PortSet{},
	}
}

type planner struct {
	namespaces  map[string]labels.Set
	pods, local []Pod
	plan        Plan
}

func (p *planner) family(ip netip.Addr) *FamilyPlan {
	if ip.Is4() {
		return &p.plan.V4
	}
	return &p.plan.V6
}

// directions are the policy types, defaulted as the API server does it.
func directions(spec *networkingv1.NetworkPolicySpec) []Direction {
	if len(spec.PolicyTypes) == 0 {
		if len(spec.Egress) > 0 {
			return []Direction{Ingress, Egress}
		}
		return []Direction{Ingress}
	}
	var found []Direction
	if slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		found = append(found, Ingress)
	}
	if slices.Contains(spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
		found = append(found, Egress)
	}
	return found
}

// rules are a policy's rules as far as they concern a family.
func (p *planner) rules(family *FamilyPlan, policy Policy, direction Direction) []Rule {
	var rules []Rule
	add := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		var rule Rule
		p.setPeers(&rule, family, policy.Namespace, peers)
		p.setPorts(&rule, family, ports)
		anyone := rule.AnyPeer || rule.PodSet != "" || len(rule.Blocks) > 0
		anywhere := rule.AnyPort || len(rule.Ports) > 0 || len(rule.PortSets) > 0
		if anyone && anywhere {
			rules = append(rules, rule)
		}
	}
	if direction == Ingress {
		for _, rule := range policy.Spec.Ingress {
			add(rule.From, rule.Ports)
		}
	} else {
		for _, rule := range policy.Spec.Egress {
			add(rule.To, rule.Ports)
		}
	}
	return rules
}

func (p *planner) setPeers(rule *Rule, family *FamilyPlan, policyNamespace string, peers []networkingv1.NetworkPolicyPeer) {
	if len(peers) == 0 {
		rule.AnyPeer = true
		return
	}
	var blocks []*networkingv1.IPBlock
	var selections []selection
	for _, peer := range peers {
		if peer.IPBlock != nil {
			blocks = append(blocks, peer.IPBlock)
		} else if s, ok := newSelection(policyNamespace, peer); ok {
			selections = append(selections, s)
		}
	}
	rule.Blocks = blockRanges(blocks, family == &p.plan.V4)
	if len(rule.Blocks) == 1 && rule.Blocks[0] == everything(family == &p.plan.V4) {
		rule.Blocks, rule.AnyPeer = nil, true
		return
	}
	if len(selections) > 0 {
		rule.PodSet = p.podSet(family, selections)
	}
}

// selection is a peer that selects pods.
type selection struct {
	namespace  string          // in this namespace, or
	namespaces labels.Selector // in those with such labels
	pods       labels.Selector
}

func newSelection(policyNamespace string, peer networkingv1.NetworkPolicyPeer) (selection, bool) {
	s := selection{pods: labels.Everything()}
	var err error
	if peer.PodSelector != nil {
		if s.pods, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return s, false
		}
	}
	if peer.NamespaceSelector == nil {
		s.namespace = policyNamespace
		return s, peer.PodSelector != nil
	}
	s.namespaces, err = metav1.LabelSelectorAsSelector(peer.NamespaceSelector)
	return s, err == nil
}

func (s selection) String() string {
	if s.namespaces == nil {
		return "namespace " + s.namespace + " pods " + s.pods.String()
	}
	return "namespaces " + s.namespaces.String() + " pods " + s.pods.String()
}

func (s selection) matches(pod *Pod, namespaces map[string]labels.Set) bool {
	if s.namespaces == nil {
		return pod.Namespace == s.namespace && s.pods.Matches(pod.Labels)
	}
	namespaceLabels, known := namespaces[pod.Namespace]
	return known && s.namespaces.Matches(namespaceLabels) && s.pods.Matches(pod.Labels)
}

// podSet is the name of the set of all pods that one of selections matches.
// Equal selections share a set, and the name says nothing of the pods in it:
// when they change, only elements of the set do.
func (p *planner) podSet(family *FamilyPlan, selections []selection) string {
	keys := make([]string, len(selections))
	for i, s := range selections {
		keys[i] = s.String()
	}
	slices.Sort(keys)
	name := "pods-" + shortHash(slices.Compact(keys)...)
	if _, made := family.PodSets[name]; made {
		return name
	}
	ips := []netip.Addr{}
	for i := range p.pods {
		pod := &p.pods[i]
		if !slices.ContainsFunc(selections, func(s selection) bool { return s.matches(pod, p.namespaces) }) {
			continue
		}
		for _, ip := range pod.IPs {
			if p.family(ip) == family {
				ips = append(ips, ip)
			}
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	family.PodSets[name] = slices.Compact(ips)
	return name
}

func (p *planner) setPorts(rule *Rule, family *FamilyPlan, ports []networkingv1.NetworkPolicyPort) {
	if len(ports) == 0 {
		rule.AnyPort = true
		return
	}
	for _, port := range ports {
		protocol := corev1.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		switch {
		case port.Port == nil:
			rule.Ports = append(rule.Ports, PortRange{protocol, 0, 65535})
		case port.Port.StrVal != "":
			rule.PortSets = append(rule.PortSets, p.portSet(family, protocol, port.Port.StrVal))
		default:
			first := uint16(port.Port.IntVal)
			last := first
			if port.EndPort != nil {
				last = uint16(*port.EndPort)
			}
			rule.Ports = append(rule.Ports, PortRange{protocol, first, last})
		}
	}
	rule.Ports = mergePorts(rule.Ports)
	slices.Sort(rule.PortSets)
	rule.PortSets = slices.Compact(rule.PortSets)
}

// portSet is the name of the set of all ports in the cluster that have a name
// and protocol. It serves both directions, as a port's name is always looked up
// at the connection's destination.
func (p *planner) portSet(family *FamilyPlan, protocol corev1.Protocol, portName string) string {
	name := "port-" + strings.ToLower(string(protocol)) + "-" + portName
	if _, made := family.PortSets[name]; made {
		return name
	}
	endpoints := []netip.AddrPort{}
	for _, pod := range p.pods {
		for _, port := range pod.NamedPorts {
			if port.Name != portName || port.Protocol != protocol {
				continue
			}
			for _, ip := range pod.IPs {
				if p.family(ip) == family {
					endpoints = append(endpoints, netip.AddrPortFrom(ip, port.Port))
				}
			}
		}
	}
	slices.SortFunc(endpoints, netip.AddrPort.Compare)
	family.PortSets[name] = PortSet{protocol, slices.Compact(endpoints)}
	return name
}

func mergePorts(ports []PortRange) []PortRange {
	slices.SortFunc(ports, func(a, b PortRange) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First))
	})
	var merged []PortRange
	for _, port := range ports {
		if n := len(merged); n > 0 && merged[n-1].Protocol == port.Protocol && int(port.First) <= int(merged[n-1].Last)+1 {
			merged[n-1].Last = max(merged[n-1].Last, port.Last)
		} else {
			merged = append(merged, port)
		}
	}
	return merged
}

// clauseName can be read, and the hash keeps it unique where it is cut off.
func clauseName(direction Direction, policy Policy) string {
	name := string(direction) + "-" + shortHash(policy.Namespace, policy.Name) + "-" + policy.Namespace + "/" + policy.Name
	return name[:min(len(name), 120)]
}

func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// sortedKeys are a map's keys in an order that does not change.
func sortedKeys[M ~map[K]V, K cmp.Ordered, V any](m M) []K {
	return slices.Sorted(maps.Keys(m))
}
