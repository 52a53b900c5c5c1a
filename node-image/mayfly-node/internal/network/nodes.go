package network

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// node is what the network has to know of a Node object.
type node struct {
	name        string
	podCIDRs    []netip.Prefix
	internalIPs []netip.Addr
}

func toNode(obj runtime.Object) node {
	object := obj.(*corev1.Node)
	n := node{name: object.Name}
	cidrs := object.Spec.PodCIDRs
	if len(cidrs) == 0 && object.Spec.PodCIDR != "" {
		cidrs = []string{object.Spec.PodCIDR}
	}
	for _, cidr := range cidrs {
		if prefix, err := netip.ParsePrefix(cidr); err == nil {
			n.podCIDRs = append(n.podCIDRs, prefix.Masked())
		}
	}
	for _, address := range object.Status.Addresses {
		if address.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(address.Address); err == nil {
			n.internalIPs = append(n.internalIPs, ip.Unmap())
		}
	}
	return n
}

// routesTo are the routes that a node needs to reach the pods of all the
// others: pod subnet to the other node's first InternalIP of the same family.
// A node that has no subnet or no address yet is left out until it has.
func routesTo(nodes []node, self string) map[netip.Prefix]netip.Addr {
	routes := map[netip.Prefix]netip.Addr{}
	for _, n := range nodes {
		if n.name == self {
			continue
		}
		for _, cidr := range n.podCIDRs {
			for _, ip := range n.internalIPs {
				if ip.Is4() == cidr.Addr().Is4() {
					routes[cidr] = ip
					break
				}
			}
		}
	}
	return routes
}

// podAddresses are the subnets between which nothing is masqueraded: those the
// cluster was configured with, and those of nodes that lie outside of them.
func podAddresses(nodes []node, podSubnets []netip.Prefix) []netip.Prefix {
	var cidrs []netip.Prefix
	for _, n := range nodes {
		cidrs = append(cidrs, n.podCIDRs...)
	}
	return disjoint(append(cidrs, podSubnets...))
}

// disjoint leaves out each prefix that lies within another, and sorts the rest.
func disjoint(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var kept []netip.Prefix
	for _, p := range prefixes {
		// A prefix that covers p sorts before it, with only its parts between.
		if len(kept) > 0 && kept[len(kept)-1].Contains(p.Addr()) {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// nodeNetwork brings the node's CNI configuration, routes and masquerading to
// where the Node objects want them.
type nodeNetwork struct {
	log           *slog.Logger
	nodeName      string
	podSubnets    []netip.Prefix
	cniConfigPath string
	mtu           int
	masquerade    *masquerade
}

// keep follows nodes until ctx ends, and calls ready once, when everything is
// in place for the first time.
func (n *nodeNetwork) keep(ctx context.Context, nodes *mirror[node], ready func()) {
	disturbed := watchRoutes(ctx, n.log)
	// While the API is being asked: setting up nftables takes as long as that,
	// and the pod subnets are known. Should it fail, sync tries again and says so.
	n.masquerade = newMasquerade(n.log)
	_ = n.masquerade.ensure(ctx, podAddresses(nil, n.podSubnets))
	select {
	case <-nodes.synced:
	case <-ctx.Done():
		return
	}
	var wait <-chan time.Time
	backoff := retry{}
	for {
		if err := n.sync(ctx, nodes.list()); err != nil && ctx.Err() == nil {
			pause := backoff.next()
			n.log.Error("node network is not as it should be, trying again", "in", pause, "err", err)
			wait = time.After(pause)
		} else {
			backoff.reset()
			wait = nil
			if ready != nil {
				ready()
				ready = nil
			}
		}
		select {
		case <-nodes.changed:
		case <-disturbed:
		case <-wait:
		case <-ctx.Done():
			return
		}
	}
}

func (n *nodeNetwork) sync(ctx context.Context, nodes []node) error {
	if i := slices.IndexFunc(nodes, func(other node) bool { return other.name == n.nodeName }); i >= 0 && len(nodes[i].podCIDRs) > 0 {
		mtu, err := defaultMTU()
		if err != nil {
			return err
		}
		// The default route goes for a moment when its interface does.
		n.mtu = cmp.Or(mtu, n.mtu)
		written, err := ensureCNIConfig(n.cniConfigPath, nodes[i].podCIDRs, n.mtu)
		if err != nil {
			return err
		}
		if written {
			n.log.Info("wrote CNI configuration", "path", n.cniConfigPath, "podCIDRs", nodes[i].podCIDRs)
		}
	}
	if err := ensureRoutes(n.log, routesTo(nodes, n.nodeName)); err != nil {
		return err
	}
	return n.masquerade.ensure(ctx, podAddresses(nodes, n.podSubnets))
}
