package entrypoint

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"mayfly.io/node-image/mayfly-node/internal/dnsrelay"
)

// relayedServer has the address of the server that DNS queries are relayed to.
// mayfly-dns-relay.service depends on it.
const relayedServer = "/run/mayfly-dns-relay"

// relayAddress is where each node relays DNS queries of its own pods. Nothing
// else has it: it is a unique local address with a random prefix.
var relayAddress = netip.MustParseAddr("fd6d:a7f1:3c0e::35")

// relayDNS gives pods of a cluster with IPv6 only a DNS server that they reach:
// those of engines have IPv4 addresses.
func relayDNS(context.Context) error {
	wanted, err := readNodeDocument()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	resolvConf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	server, err := serverToRelay(string(resolvConf), wanted.PodCIDRs)
	if err != nil || !server.IsValid() {
		return err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: relayAddress.AsSlice(), Mask: net.CIDRMask(128, 128)}}
	if err := netlink.AddrReplace(loopback, address); err != nil {
		return fmt.Errorf("address %s: %w", relayAddress, err)
	}
	// The node itself asks the first one.
	more := fmt.Sprintf("%s\nnameserver %s\n", strings.TrimRight(string(resolvConf), "\n"), relayAddress)
	if err := os.WriteFile("/etc/resolv.conf", []byte(more), 0o644); err != nil {
		return err
	}
	return os.WriteFile(relayedServer, []byte(netip.AddrPortFrom(server, 53).String()), 0o644)
}

// serverToRelay is the first server, when pods reach none: there are pods, they
// have no IPv4 addresses, and no server has an IPv6 one.
func serverToRelay(resolvConf string, podCIDRs []string) (netip.Addr, error) {
	if len(podCIDRs) == 0 {
		return netip.Addr{}, nil
	}
	for _, text := range podCIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Addr().Is4() {
			return netip.Addr{}, err
		}
	}
	var first netip.Addr
	lines := bufio.NewScanner(strings.NewReader(resolvConf))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		server, err := netip.ParseAddr(fields[1])
		if err != nil {
			continue // resolvers pass over what they can't read
		}
		if server.Is6() {
			return netip.Addr{}, nil
		}
		if !first.IsValid() {
			first = server
		}
	}
	return first, nil
}

// RunDNSRelay relays DNS queries while the node runs.
func RunDNSRelay(ctx context.Context, _ []string) error {
	server, err := os.ReadFile(relayedServer)
	if err != nil {
		return err
	}
	listen := netip.AddrPortFrom(relayAddress, 53).String()
	packets, err := net.ListenPacket("udp", listen)
	if err != nil {
		return err
	}
	streams, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return dnsrelay.Serve(ctx, packets, streams, string(server))
}
