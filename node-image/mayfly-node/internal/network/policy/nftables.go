package policy

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"
)

// The table inet mayfly-policy has one base chain, in the forward hook. There
// kube-proxy has already put a pod's address for that of a Service, and nothing
// has been masqueraded yet, so both ends are what policies speak of. What the
// node itself sends to its pods, kubelet's probes among it, and what they send
// to the node never passes that hook, and no policy may refuse it.
//
//	forward:  established? hairpin? -> accept
//	          source isolated for egress -> its isolation, else -> ingress
//	isolation: each clause in turn, then drop
//	egress clause: a rule matches -> ingress
//	ingress:  destination isolated for ingress -> its isolation, else accept
//	ingress clause: a rule matches -> accept
//
// When no pod of the node is isolated there is no table.
const (
	tableName    = "mayfly-policy"
	forwardChain = "forward"
	ingressChain = "ingress"
)

// Enforcer puts plans into the kernel.
type Enforcer struct {
	nft knftables.Interface
	// applied is what is in the kernel, nil where that is not known.
	applied *ruleset
}

// NewEnforcer fails where nftables, or its command nft, does not work.
func NewEnforcer() (*Enforcer, error) {
	nft, err := knftables.New(knftables.InetFamily, tableName)
	if err != nil {
		return nil, err
	}
	return &Enforcer{nft: nft}, nil
}

// Apply makes plan what the kernel enforces, in one transaction of only what is
// new or gone since the last. The first one, and one after a failure, replaces
// all.
func (e *Enforcer) Apply(ctx context.Context, plan Plan) error {
	wanted := compile(plan)
	tx := e.nft.NewTransaction()
	switch {
	case e.applied == nil || wanted.empty() != e.applied.empty():
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		if !wanted.empty() {
			addBase(tx)
			addDifference(tx, &ruleset{}, wanted)
		}
	default:
		addDifference(tx, e.applied, wanted)
	}
	if tx.NumOperations() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := e.nft.Run(ctx, tx); err != nil {
		e.applied = nil
		return err
	}
	e.applied = wanted
	return nil
}

// families are the parts of rules and names in which IPv4 and IPv6 differ.
var families = []family{{"ip", "4", "ipv4_addr"}, {"ip6", "6", "ipv6_addr"}}

type family struct{ keyword, suffix, addrType string }

func (f family) hairpins() string            { return "hairpin" + f.suffix }
func (f family) isolated(d Direction) string { return "isolated-" + string(d) + f.suffix }
func (f family) name(planName string) string { return planName + "-" + f.suffix }

func addBase(tx *knftables.Transaction) {
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Chain{
		Name:     forwardChain,
		Type:     knftables.PtrTo(knftables.FilterType),
		Hook:     knftables.PtrTo(knftables.ForwardHook),
		Priority: knftables.PtrTo(knftables.FilterPriority + "-5"),
	})
	tx.Add(&knftables.Chain{Name: ingressChain})
	rule := func(chain string, parts ...any) {
		tx.Add(&knftables.Rule{Chain: chain, Rule: knftables.Concat(parts...)})
	}
	for _, f := range families {
		tx.Add(&knftables.Set{Name: f.hairpins(), Type: f.addrType + " . " + f.addrType})
		for _, direction := range []Direction{Ingress, Egress} {
			tx.Add(&knftables.Map{Name: f.isolated(direction), Type: f.addrType + " : verdict"})
		}
	}
	rule(forwardChain, "ct state established,related accept")
	for _, f := range families {
		rule(forwardChain, f.keyword, "saddr", ".", f.keyword, "daddr", "@"+f.hairpins(), "accept")
		rule(forwardChain, f.keyword, "saddr vmap", "@"+f.isolated(Egress))
		rule(ingressChain, f.keyword, "daddr vmap", "@"+f.isolated(Ingress))
	}
	rule(forwardChain, "goto", ingressChain)
	// An egress clause came here by goto from within an isolation: a plain end
	// of this chain would go on there, to its drop.
	rule(ingressChain, "accept")
}

// ruleset is a plan in the words of nftables, without what is always there.
type ruleset struct {
	chains map[string][]string // rules
	sets   map[string]elements
	// Elements of the sets and maps of addBase.
	hairpins map[string]map[string]bool
	verdicts map[string]map[string]string
}

// elements of a set, each the parts of its key joined by " . ".
type elements struct {
	setType string
	keys    map[string]bool
}

func (r *ruleset) empty() bool { return len(r.verdicts) == 0 }

func compile(plan Plan) *ruleset {
	r := &ruleset{
		chains: map[string][]string{}, sets: map[string]elements{},
		hairpins: map[string]map[string]bool{}, verdicts: map[string]map[string]string{},
	}
	for i, half := range []FamilyPlan{plan.V4, plan.V6} {
		f := families[i]
		hairpins := map[string]bool{}
		for direction, isolated := range map[Direction]map[netip.Addr]string{Ingress: half.Ingress, Egress: half.Egress} {
			verdicts := map[string]string{}
			for ip, isolation := range isolated {
				verdicts[ip.String()] = "goto " + f.name(isolation)
				hairpins[ip.String()+" . "+ip.String()] = true
			}
			if len(verdicts) > 0 {
				r.verdicts[f.isolated(direction)] = verdicts
			}
		}
		r.hairpins[f.hairpins()] = hairpins
		for name, ips := range half.PodSets {
			keys := make(map[string]bool, len(ips))
			for _, ip := range ips {
				keys[ip.String()] = true
			}
			r.sets[f.name(name)] = elements{f.addrType, keys}
		}
		for name, ports := range half.PortSets {
			keys := make(map[string]bool, len(ports.Endpoints))
			for _, endpoint := range ports.Endpoints {
				keys[endpoint.Addr().String()+" . "+strconv.Itoa(int(endpoint.Port()))] = true
			}
			r.sets[f.name(name)] = elements{f.addrType + " . inet_service", keys}
		}
		for name, isolation := range half.Isolations {
			var rules []string
			for _, clause := range isolation.Clauses {
				rules = append(rules, "jump "+f.name(clause))
			}
			r.chains[f.name(name)] = append(rules, "drop")
		}
		for name, clause := range half.Clauses {
			rules := []string{}
			for _, rule := range clause.Rules {
				rules = append(rules, f.rules(half, clause.Direction, rule)...)
			}
			r.chains[f.name(name)] = rules
		}
	}
	return r
}

// rules are those of nftables for one of a policy: one for each way to say who,
// times each way to say which port.
func (f family) rules(half FamilyPlan, direction Direction, rule Rule) []string {
	peer, verdict := f.keyword+" saddr", "accept"
	if direction == Egress {
		peer, verdict = f.keyword+" daddr", "goto "+ingressChain
	}
	var peers []string
	if rule.AnyPeer {
		peers = append(peers, "")
	}
	if rule.PodSet != "" {
		peers = append(peers, peer+" @"+f.name(rule.PodSet)+" ")
	}
	if len(rule.Blocks) > 0 {
		var blocks []string
		for _, block := range rule.Blocks {
			if block.First == block.Last {
				blocks = append(blocks, block.First.String())
			} else {
				blocks = append(blocks, block.First.String()+"-"+block.Last.String())
			}
		}
		peers = append(peers, peer+" { "+strings.Join(blocks, ", ")+" } ")
	}
	var ports []string
	if rule.AnyPort {
		ports = append(ports, "")
	}
	numbers := map[corev1.Protocol][]string{}
	for _, port := range rule.Ports {
		keyword := strings.ToLower(string(port.Protocol))
		switch {
		case port.First == 0 && port.Last == 65535:
			ports = append(ports, "meta l4proto "+keyword+" ")
		case port.First == port.Last:
			numbers[port.Protocol] = append(numbers[port.Protocol], fmt.Sprint(port.First))
		default:
			numbers[port.Protocol] = append(numbers[port.Protocol], fmt.Sprintf("%d-%d", port.First, port.Last))
		}
	}
	for _, protocol := range sortedKeys(numbers) {
		ports = append(ports, strings.ToLower(string(protocol))+" dport { "+strings.Join(numbers[protocol], ", ")+" } ")
	}
	for _, set := range rule.PortSets {
		protocol := strings.ToLower(string(half.PortSets[set].Protocol))
		ports = append(ports, f.keyword+" daddr . "+protocol+" dport @"+f.name(set)+" ")
	}
	var rules []string
	for _, peer := range peers {
		for _, port := range ports {
			rules = append(rules, peer+port+verdict)
		}
	}
	return rules
}

// addDifference adds to tx what leads from one ruleset to the other: first what
// others refer to, last what nobody refers to any more.
func addDifference(tx *knftables.Transaction, from, to *ruleset) {
	for _, name := range sortedKeys(to.sets) {
		if _, there := from.sets[name]; !there {
			tx.Add(&knftables.Set{Name: name, Type: to.sets[name].setType})
		}
		addElementDifference(tx, name, from.sets[name].keys, to.sets[name].keys)
	}
	for name := range union(from.hairpins, to.hairpins) {
		addElementDifference(tx, name, from.hairpins[name], to.hairpins[name])
	}
	var changed []string
	for _, name := range sortedKeys(to.chains) {
		rules, there := from.chains[name]
		if !there {
			tx.Add(&knftables.Chain{Name: name})
		} else if slices.Equal(rules, to.chains[name]) {
			continue
		} else {
			tx.Flush(&knftables.Chain{Name: name})
		}
		changed = append(changed, name)
	}
	for _, name := range changed {
		for _, rule := range to.chains[name] {
			tx.Add(&knftables.Rule{Chain: name, Rule: rule})
		}
	}
	for name := range union(from.verdicts, to.verdicts) {
		old, new := from.verdicts[name], to.verdicts[name]
		for _, ip := range sortedKeys(old) {
			if old[ip] != new[ip] {
				tx.Delete(&knftables.Element{Map: name, Key: []string{ip}})
			}
		}
		for _, ip := range sortedKeys(new) {
			if old[ip] != new[ip] {
				tx.Add(&knftables.Element{Map: name, Key: []string{ip}, Value: []string{new[ip]}})
			}
		}
	}
	// Isolations refer to clauses, so all are emptied before the first is removed.
	gone := missing(from.chains, to.chains)
	for _, name := range gone {
		tx.Flush(&knftables.Chain{Name: name})
	}
	for _, name := range gone {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, name := range missing(from.sets, to.sets) {
		tx.Delete(&knftables.Set{Name: name})
	}
}

func addElementDifference(tx *knftables.Transaction, set string, from, to map[string]bool) {
	for _, key := range missing(from, to) {
		tx.Delete(&knftables.Element{Set: set, Key: strings.Split(key, " . ")})
	}
	for _, key := range missing(to, from) {
		tx.Add(&knftables.Element{Set: set, Key: strings.Split(key, " . ")})
	}
}

// missing are the keys of from that to lacks.
func missing[V any](from, to map[string]V) []string {
	var keys []string
	for _, key := range sortedKeys(from) {
		if _, there := to[key]; !there {
			keys = append(keys, key)
		}
	}
	return keys
}

func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return all
}
