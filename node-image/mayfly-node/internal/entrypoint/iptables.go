package entrypoint

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/vishvananda/netlink"
)

// flavour is how the kernel is asked to filter packets: through nf_tables or
// through the older x_tables. Rules of one are not seen by the other, so the
// node has to use what the engine used in this network namespace.
type flavour string

const (
	nft    flavour = "nft"
	legacy flavour = "legacy"
)

// chosen is set by chooseIPTables and read by the steps after it.
var chosen = nft

// chooseIPTables takes the flavour with more rules: at this time only the
// engine has made any. Without rules it takes the one that works, nf_tables first.
func chooseIPTables(ctx context.Context) error {
	nftRules, nftErr := countRules(ctx, nft)
	legacyRules, legacyErr := 0, error(nil)
	if nftErr != nil || nftRules == 0 { // asking loads legacy kernel modules: only where the answer can matter
		legacyRules, legacyErr = countRules(ctx, legacy)
	}
	switch {
	case nftErr != nil && legacyErr != nil:
		return fmt.Errorf("neither flavour works: %w", errors.Join(nftErr, legacyErr))
	case nftErr != nil || legacyRules > nftRules:
		chosen = legacy
	default:
		chosen = nft
	}
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			link := "/etc/alternatives/" + program + suffix
			target := fmt.Sprintf("/usr/sbin/%s-%s%s", program, chosen, suffix)
			if current, _ := os.Readlink(link); current == target {
				continue
			}
			if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
				return err
			}
			if err := os.Symlink(target, link); err != nil {
				return err
			}
		}
	}
	return nil
}

func countRules(ctx context.Context, f flavour) (int, error) {
	output, err := exec.CommandContext(ctx, "/usr/sbin/iptables-"+string(f)+"-save", "-t", "nat").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("iptables-%s-save: %w: %s", f, err, strings.TrimSpace(string(output)))
	}
	return strings.Count(string(output), "\n-A "), nil
}

// engineDNS is where the engine answers DNS queries in a network of its own.
const engineDNS = "127.0.0.11"

var dnsRule = regexp.MustCompile(`-p (tcp|udp) .*--to-destination 127\.0\.0\.11:(\d+)`)

// redirectEngineDNS makes the engine's DNS reachable for pods. It listens on a
// loopback address, which is another machine's own from a pod's point of view,
// so queries to the node's gateway are sent there instead.
func redirectEngineDNS(ctx context.Context) error {
	resolvConf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || !strings.Contains(string(resolvConf), engineDNS) {
		return nil // the engine uses the host's servers, which pods can reach
	}
	gateway, err := defaultGateway()
	if err != nil {
		return err
	}
	if !gateway.IsValid() {
		log.Printf("no IPv4 gateway: names of other containers will not resolve in pods")
		return nil
	}
	saved, err := exec.CommandContext(ctx, "iptables-save", "-t", "nat").Output()
	if err != nil {
		return fmt.Errorf("iptables-save: %w", err)
	}
	restore := exec.CommandContext(ctx, "iptables-restore", "--noflush")
	restore.Stdin = strings.NewReader(dnsRules(string(saved), gateway))
	if output, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, strings.TrimSpace(string(output)))
	}
	// Packets for loopback addresses are dropped on other interfaces unless this is set.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644); err != nil {
		return err
	}
	replaced := strings.ReplaceAll(string(resolvConf), engineDNS, gateway.String())
	return os.WriteFile("/etc/resolv.conf", []byte(replaced), 0o644)
}

// dnsRules sends DNS queries to the gateway, from the node and from pods, where
// the engine's own rules among the saved ones send those to its loopback address.
func dnsRules(saved string, gateway netip.Addr) string {
	rules := "*nat\n:MAYFLY_DNS - [0:0]\n"
	for _, match := range dnsRule.FindAllStringSubmatch(saved, -1) {
		rules += fmt.Sprintf("-A MAYFLY_DNS -d %s/32 -p %s --dport 53 -j DNAT --to-destination %s:%s\n", gateway, match[1], engineDNS, match[2])
	}
	return rules + "-A OUTPUT -j MAYFLY_DNS\n-A PREROUTING -j MAYFLY_DNS\nCOMMIT\n"
}

// setDNSSearch gives the node the search domains that kind's configuration asks
// for; an empty list means none. Pods inherit them.
func setDNSSearch(context.Context) error {
	domains, set := os.LookupEnv("KIND_DNS_SEARCH")
	if !set {
		return nil
	}
	resolvConf, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	return os.WriteFile("/etc/resolv.conf", []byte(withSearch(string(resolvConf), domains)), 0o644)
}

func withSearch(resolvConf, domains string) string {
	var out strings.Builder
	for line := range strings.Lines(resolvConf) {
		if fields := strings.Fields(line); len(fields) == 0 || fields[0] != "search" && fields[0] != "domain" {
			out.WriteString(line)
		}
	}
	if domains = strings.TrimSpace(domains); domains != "" {
		fmt.Fprintf(&out, "search %s\n", domains)
	}
	return out.String()
}

// answerARP undoes what a new network namespace takes over from some hosts:
// with arp_ignore=2 the node ignores pods, whose addresses are in no subnet of its own.
func answerARP(context.Context) error {
	return os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("0"), 0o644)
}

func defaultGateway() (netip.Addr, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list routes: %w", err)
	}
	for _, route := range routes {
		if isDefault(route) {
			if addr, ok := netip.AddrFromSlice(route.Gw.To4()); ok {
				return addr, nil
			}
		}
	}
	return netip.Addr{}, nil
}

func isDefault(route netlink.Route) bool {
	if route.Dst == nil {
		return true
	}
	ones, _ := route.Dst.Mask.Size()
	return ones == 0
}
