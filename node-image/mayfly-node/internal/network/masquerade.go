package network

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"sigs.k8s.io/knftables"
)

// masquerade is the table inet mayfly-masquerade: what pods send to anywhere
// but pods carries the node's address. As in kind that includes what they send
// to other nodes, which can so answer before they know a route to the pod.
type masquerade struct {
	nft     knftables.Interface // nil where nftables does not work
	applied []netip.Prefix
}

func newMasquerade(log *slog.Logger) *masquerade {
	nft, err := knftables.New(knftables.InetFamily, "mayfly-masquerade")
	if err != nil {
		log.Error("nftables does not work on this node: pods cannot reach beyond the cluster", "err", err)
		return &masquerade{}
	}
	return &masquerade{nft: nft}
}

// ensure makes pods, which must not overlap, the addresses between which
// nothing is masqueraded.
func (m *masquerade) ensure(ctx context.Context, pods []netip.Prefix) error {
	if m.nft == nil || slices.Equal(pods, m.applied) {
		return nil
	}
	tx := m.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{})
	tx.Add(&knftables.Chain{
		Name:     "postrouting",
		Type:     knftables.PtrTo(knftables.NATType),
		Hook:     knftables.PtrTo(knftables.PostroutingHook),
		Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	for _, family := range []struct {
		set, setType, ip string
		is4              bool
	}{
		{"pods4", "ipv4_addr", "ip", true},
		{"pods6", "ipv6_addr", "ip6", false},
	} {
		tx.Add(&knftables.Set{Name: family.set, Type: family.setType, Flags: []knftables.SetFlag{knftables.IntervalFlag}})
		for _, prefix := range pods {
			if prefix.Addr().Is4() == family.is4 {
				tx.Add(&knftables.Element{Set: family.set, Key: []string{prefix.String()}})
			}
		}
		// Random ports, because two pods that resolve a name at the same moment
		// would otherwise often be given the same one, and one query is lost.
		tx.Add(&knftables.Rule{Chain: "postrouting", Rule: knftables.Concat(
			family.ip, "saddr", "@"+family.set, family.ip, "daddr", "!=", "@"+family.set, "masquerade fully-random")})
	}
	if err := m.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("cannot set up masquerading: %w", err)
	}
	m.applied = slices.Clone(pods)
	return nil
}
