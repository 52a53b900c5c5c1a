package entrypoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"mayfly.io/node-image/mayfly-node/internal/network"
)

// route leads to the pods of another node.
type route struct {
	To  string `json:"to"`
	Via string `json:"via"`
}

// apiService is the Service of the API server, and where it leads.
type apiService struct {
	Addresses []string `json:"addresses"`
	Endpoint  string   `json:"endpoint"`
}

// prepareNetwork puts in place what the network daemon and kube-proxy would only
// bring once their pods run. A pod that starts before them would send its first
// packet nowhere, and the kernel would keep sending the later ones after it.
func prepareNetwork(ctx context.Context) error {
	wanted, err := readNodeDocument()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, r := range wanted.Routes {
		if err := addRoute(r); err != nil {
			return fmt.Errorf("route to %s: %w", r.To, err)
		}
	}
	return leadToAPIServer(ctx, wanted.APIService)
}

func addRoute(r route) error {
	_, destination, err := net.ParseCIDR(r.To)
	if err != nil {
		return err
	}
	gateway := net.ParseIP(r.Via)
	if gateway == nil {
		return fmt.Errorf("%q is no address", r.Via)
	}
	return netlink.RouteReplace(&netlink.Route{Dst: destination, Gw: gateway, Protocol: network.RouteProtocol})
}

// leadToAPIServer comes after kube-proxy's own rules, so it decides only while
// those are not there.
func leadToAPIServer(ctx context.Context, service apiService) error {
	endpoint, err := netip.ParseAddrPort(service.Endpoint)
	if err != nil {
		return err
	}
	for _, text := range service.Addresses {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		if address.Is4() != endpoint.Addr().Is4() {
			continue // the other family's address has no endpoint either, once kube-proxy runs
		}
		program := "iptables-restore"
		if address.Is6() {
			program = "ip6tables-restore"
		}
		rule := fmt.Sprintf("-d %s -p tcp --dport 443 -j DNAT --to-destination %s", address, endpoint)
		restore := exec.CommandContext(ctx, program, "--noflush")
		restore.Stdin = strings.NewReader("*nat\n:MAYFLY_API - [0:0]\n-A MAYFLY_API " + rule +
			"\n-A OUTPUT -j MAYFLY_API\n-A PREROUTING -j MAYFLY_API\nCOMMIT\n")
		if output, err := restore.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(output)))
		}
	}
	return nil
}
