package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RouteProtocol marks the routes that are ours, in `ip route` as "proto 109".
// Routes of other origins are never removed.
const RouteProtocol = 109

// ensureRoutes makes the routes of our protocol those of want. It goes on after
// a failure, so that one unreachable node does not cut off the others.
func ensureRoutes(log *slog.Logger, want map[netip.Prefix]netip.Addr) error {
	existing, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: RouteProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("cannot list routes: %w", err)
	}
	have := map[netip.Prefix]netip.Addr{}
	var errs []error
	for _, route := range existing {
		destination, gateway := prefixOf(route.Dst), addrOf(route.Gw)
		if want[destination] == gateway && gateway.IsValid() {
			have[destination] = gateway
			continue
		}
		// With another gateway it is replaced below, which leaves no gap.
		if _, wanted := want[destination]; wanted {
			continue
		}
		if err := netlink.RouteDel(&route); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("cannot remove route to %s via %s: %w", destination, gateway, err))
			continue
		}
		log.Info("removed route", "to", destination, "via", gateway)
	}
	for destination, gateway := range want {
		if have[destination] == gateway {
			continue
		}
		err := netlink.RouteReplace(&netlink.Route{
			Dst:      &net.IPNet{IP: destination.Addr().AsSlice(), Mask: net.CIDRMask(destination.Bits(), destination.Addr().BitLen())},
			Gw:       gateway.AsSlice(),
			Protocol: RouteProtocol,
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot route %s via %s: %w", destination, gateway, err))
			continue
		}
		log.Info("set route", "to", destination, "via", gateway)
	}
	return errors.Join(errs...)
}

// watchRoutes gives a value whenever something happened by which a route of
// ours may have been lost: it was deleted, or an interface came up, for when
// one goes down the kernel drops IPv4 routes without a word.
func watchRoutes(ctx context.Context, log *slog.Logger) <-chan struct{} {
	disturbed := make(chan struct{}, 1)
	disturb := func() {
		select {
		case disturbed <- struct{}{}:
		default:
		}
	}
	updates := subscribeRoutes(ctx, log)
	go func() {
		for {
			for update := range updates {
				ours := update.Type == unix.RTM_DELROUTE && update.Protocol == RouteProtocol
				connected := update.Type == unix.RTM_NEWROUTE && update.Protocol == unix.RTPROT_KERNEL &&
					update.Table == unix.RT_TABLE_MAIN && !prefixOf(update.Dst).IsSingleIP()
				if ours || connected {
					disturb()
				}
			}
			// So many changes at once that the kernel dropped some, most likely.
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return
			}
			updates = subscribeRoutes(ctx, log)
			disturb()
		}
	}()
	return disturbed
}

// subscribeRoutes gives all changes of routes, and an end of them on failure.
func subscribeRoutes(ctx context.Context, log *slog.Logger) <-chan netlink.RouteUpdate {
	ctx, end := context.WithCancel(ctx)
	updates := make(chan netlink.RouteUpdate, 16)
	err := netlink.RouteSubscribeWithOptions(updates, ctx.Done(), netlink.RouteSubscribeOptions{
		ErrorCallback: func(err error) {
			if ctx.Err() == nil {
				log.Warn("following the kernel's routes failed, starting again", "err", err)
			}
			end()
		},
	})
	if err != nil {
		log.Warn("cannot follow the kernel's routes, trying again", "err", err)
		end()
		close(updates)
	}
	return updates
}

// defaultMTU is the MTU of the interface that the default route leads through,
// IPv4 before IPv6; 0 if there is none.
func defaultMTU() (int, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return 0, fmt.Errorf("cannot list routes: %w", err)
		}
		var best *netlink.Route
		for i, route := range routes {
			isDefault := route.Dst == nil || prefixOf(route.Dst).Bits() == 0
			if isDefault && route.LinkIndex > 0 && (best == nil || route.Priority < best.Priority) {
				best = &routes[i]
			}
		}
		if best == nil {
			continue
		}
		link, err := netlink.LinkByIndex(best.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("cannot look at the default route's interface: %w", err)
		}
		return link.Attrs().MTU, nil
	}
	return 0, nil
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), ones)
}

func addrOf(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
