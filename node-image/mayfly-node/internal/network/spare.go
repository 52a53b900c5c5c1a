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

// SpareAddress gives this node an address of its pods' subnet that no pod gets,
// of the same family as another address: the last one, which the plugin
// host-local never hands out. Without a subnet of that family, or with another
// network than ours, there is none.
//
// giveBack takes it from the node again.
func SpareAddress(sameFamily netip.Addr) (spare netip.Addr, giveBack func(), err error) {
	subnet, err := podSubnet(defaultCNIConfigPath, sameFamily)
	if err != nil || !subnet.IsValid() {
		return netip.Addr{}, func() {}, err
	}
	spare = lastAddress(subnet)
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return netip.Addr{}, func() {}, err
	}
	address, err := netlink.ParseAddr(netip.PrefixFrom(spare, spare.BitLen()).String())
	if err != nil {
		return netip.Addr{}, func() {}, err
	}
	// An IPv6 address can be used at once: nobody else is asked whether it is taken.
	address.Flags = syscall.IFA_F_NODAD
	if err := netlink.AddrAdd(loopback, address); err != nil && !errors.Is(err, fs.ErrExist) {
		return netip.Addr{}, func() {}, fmt.Errorf("add %s to the loopback interface: %w", spare, err)
	}
	return spare, func() { _ = netlink.AddrDel(loopback, address) }, nil
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
