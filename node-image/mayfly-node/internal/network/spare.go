package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Spare is an address of this node's pods that no pod gets: the last one of
// their subnet, which the plugin host-local never hands out.
type Spare struct {
	netip.Addr
	loopback netlink.Link
	address  *netlink.Addr
}

// SpareAddress finds one of the same family as another address. Without a subnet
// of that family, or with another network than ours, it is invalid.
func SpareAddress(sameFamily netip.Addr) (Spare, error) {
	subnet, err := podSubnet(defaultCNIConfigPath, sameFamily)
	if err != nil || !subnet.IsValid() {
		return Spare{}, err
	}
	spare := Spare{Addr: lastAddress(subnet)}
	if spare.loopback, err = netlink.LinkByName("lo"); err != nil {
		return Spare{}, err
	}
	spare.address, err = netlink.ParseAddr(netip.PrefixFrom(spare.Addr, spare.BitLen()).String())
	if err != nil {
		return Spare{}, err
	}
	// An IPv6 address can be used at once: nobody else is asked whether it is taken.
	spare.address.Flags = syscall.IFA_F_NODAD
	return spare, nil
}

// Take gives the node the address unless it has it. Somebody else who had it,
// too, may have given it back.
func (s Spare) Take() error {
	if !s.IsValid() {
		return nil
	}
	if err := netlink.AddrAdd(s.loopback, s.address); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("add %s to the loopback interface: %w", s.Addr, err)
	}
	return nil
}

// GiveBack takes the address from the node.
func (s Spare) GiveBack() {
	if s.IsValid() {
		_ = netlink.AddrDel(s.loopback, s.address)
	}
}

// podSubnet is that of a CNI configuration in which addresses of a family are.
func podSubnet(path string, sameFamily netip.Addr) (netip.Prefix, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return netip.Prefix{}, nil
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	var config cniConfig
	if err := json.Unmarshal(content, &config); err != nil {
		return netip.Prefix{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, subnet := range config.subnets() {
		prefix, err := netip.ParsePrefix(subnet)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%s: %w", path, err)
		}
		if prefix.Addr().Is4() == sameFamily.Is4() {
			return prefix, nil
		}
	}
	return netip.Prefix{}, nil
}

func (config cniConfig) subnets() (subnets []string) {
	for _, plugin := range config.Plugins {
		if plugin.IPAM == nil {
			continue
		}
		for _, one := range slices.Concat(plugin.IPAM.Ranges...) {
			subnets = append(subnets, one.Subnet)
		}
	}
	return subnets
}

// lastAddress has all bits set that are not the subnet's.
func lastAddress(subnet netip.Prefix) netip.Addr {
	bytes := subnet.Addr().AsSlice()
	for bit := subnet.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(bytes)
	return last
}
