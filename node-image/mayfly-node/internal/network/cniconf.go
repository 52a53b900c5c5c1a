package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

const defaultCNIConfigPath = "/etc/cni/net.d/10-kindnet.conflist"

// The documents of https://www.cni.dev/docs/spec/ and of the plugins ptp,
// host-local and portmap, in the order in which they are printed.
type cniConfig struct {
	CNIVersion string      `json:"cniVersion"`
	Name       string      `json:"name"`
	Plugins    []cniPlugin `json:"plugins"`
}

type cniPlugin struct {
	Type         string          `json:"type"`
	IPMasq       *bool           `json:"ipMasq,omitempty"`
	MTU          int             `json:"mtu,omitempty"`
	IPAM         *cniIPAM        `json:"ipam,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
}

type cniIPAM struct {
	Type    string       `json:"type"`
	DataDir string       `json:"dataDir"`
	Routes  []cniRoute   `json:"routes"`
	Ranges  [][]cniRange `json:"ranges"`
}

type cniRoute struct {
	Dst string `json:"dst"`
}

type cniRange struct {
	Subnet string `json:"subnet"`
}

// CNIConfig is the CNI configuration list of a node whose pods get addresses
// from podCIDRs (one of a family) and interfaces of mtu bytes, 0 for the
// plugin's default. Equal arguments give equal bytes.
func CNIConfig(podCIDRs []netip.Prefix, mtu int) ([]byte, error) {
	if len(podCIDRs) == 0 {
		return nil, errors.New("a CNI configuration needs at least one pod subnet")
	}
	// /run is emptied when the node restarts, as is the list of pods that hold
	// the addresses; a list that outlived them would use up the subnet.
	ipam := &cniIPAM{Type: "host-local", DataDir: "/run/cni-ipam-state"}
	for _, cidr := range podCIDRs {
		everywhere := "0.0.0.0/0"
		if cidr.Addr().Is6() {
			everywhere = "::/0"
		}
		ipam.Routes = append(ipam.Routes, cniRoute{everywhere})
		ipam.Ranges = append(ipam.Ranges, []cniRange{{cidr.Masked().String()}})
	}
	masquerade := false
	document, err := json.MarshalIndent(cniConfig{
		CNIVersion: "1.0.0",
		Name:       "kindnet",
		Plugins: []cniPlugin{
			{Type: "ptp", IPMasq: &masquerade, MTU: mtu, IPAM: ipam},
			{Type: "portmap", Capabilities: map[string]bool{"portMappings": true}},
		},
	}, "", "  ")
	return append(document, '\n'), err
}

// ensureCNIConfig writes the node's CNI configuration to path, at once and only
// if something else is there: the runtime reloads what is touched.
func ensureCNIConfig(path string, podCIDRs []netip.Prefix, mtu int) (written bool, err error) {
	document, err := CNIConfig(podCIDRs, mtu)
	if err != nil {
		return false, err
	}
	current, err := os.ReadFile(path)
	if err == nil && bytes.Equal(current, document) {
		return false, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot read CNI configuration: %w", err)
	}
	// The runtime reads *.conf, *.conflist and *.json: not this name.
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(temporary, document, 0o644); err != nil {
		return false, fmt.Errorf("cannot write CNI configuration: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return false, fmt.Errorf("cannot write CNI configuration: %w", err)
	}
	return true, nil
}

// RunCNIConfig is the subcommand cni-config: it prints what the daemon would
// write, for whoever puts it in place before the daemon runs.
func RunCNIConfig(_ context.Context, args []string) error {
	f := flag.NewFlagSet("cni-config", flag.ContinueOnError)
	podCIDR := f.String("pod-cidr", "", "the node's pod subnets, separated by commas")
	mtu := f.Int("mtu", -1, "MTU of pod interfaces; without it that of the default route's interface, as the daemon takes it")
	if err := f.Parse(args); err != nil {
		return err
	}
	podCIDRs, err := parsePrefixes(*podCIDR)
	if err != nil {
		return err
	}
	if *mtu < 0 {
		if *mtu, err = defaultMTU(); err != nil {
			return err
		}
	}
	document, err := CNIConfig(podCIDRs, *mtu)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(document)
	return err
}

// WriteCNIConfig puts the CNI configuration on disk before the kubelet starts,
// as the daemon would later, so that no pod has to run before a node is Ready.
func WriteCNIConfig(podCIDRs []string) error {
	var prefixes []netip.Prefix
	for _, cidr := range podCIDRs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return err
		}
		prefixes = append(prefixes, prefix)
	}
	mtu, err := defaultMTU()
	if err != nil {
		return err
	}
	_, err = ensureCNIConfig(defaultCNIConfigPath, prefixes, mtu)
	return err
}
