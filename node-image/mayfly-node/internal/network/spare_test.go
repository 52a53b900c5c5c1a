package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestTheSpareAddressIsTheLastOfTheSubnet(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.244.3.0/24":  "10.244.3.255",
		"10.244.3.64/28": "10.244.3.79",
		"fd00:10:1::/64": "fd00:10:1:0:ffff:ffff:ffff:ffff",
	} {
		if got := lastAddress(netip.MustParsePrefix(subnet)); got.String() != want {
			t.Errorf("%s: %s, want %s", subnet, got, want)
		}
	}
}

func TestThePodSubnetIsThatOfTheAskedFamily(t *testing.T) {
	path := filepath.Join(t.TempDir(), "10-net.conflist")
	v4, v6 := netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:10:1::/64")
	config, err := CNIConfig([]netip.Prefix{v4, v6}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	for server, want := range map[string]netip.Prefix{"10.96.0.10": v4, "fd00::10": v6} {
		if got, err := podSubnet(path, netip.MustParseAddr(server)); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", server, got, err, want)
		}
	}
}

func TestWithoutOurNetworkThereIsNoPodSubnet(t *testing.T) {
	got, err := podSubnet(filepath.Join(t.TempDir(), "missing"), netip.MustParseAddr("10.96.0.10"))
	if err != nil || got.IsValid() {
		t.Errorf("%s, %v, want none", got, err)
	}
}
