package entrypoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// kubeadmFiles are what kubeadm writes a node's address into.
var kubeadmFiles = []string{
	"/etc/kubernetes/manifests/*.yaml",
	"/etc/kubernetes/*.conf",
	"/var/lib/kubelet/config.yaml",
	"/var/lib/kubelet/instance-config.yaml",
	"/var/lib/kubelet/kubeadm-flags.env",
	"/kind/kubeadm.conf",
}

// followAddress replaces the address that the node had when it was last
// started, which an engine may change between a stop and a start.
func followAddress(ctx context.Context) error {
	for family, record := range map[string]string{"ip4": "/kind/old-ipv4", "ip6": "/kind/old-ipv6"} {
		address, err := ownAddress(family)
		if err != nil {
			return err
		}
		if !address.IsValid() {
			continue
		}
		old, err := os.ReadFile(record)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		before, err := netip.ParseAddr(string(bytes.TrimSpace(old)))
		if err == nil && before != address {
			log.Printf("address changed from %s to %s", before, address)
			if err := replaceAddress(ctx, before, address); err != nil {
				return err
			}
		}
		if err := os.WriteFile(record, []byte(address.String()+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ownAddress is what other nodes reach this node by: the first global address
// of the interface that the engine's network is attached to.
func ownAddress(family string) (netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, itf := range interfaces {
		if itf.Flags&net.FlagLoopback != 0 || itf.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := itf.Addrs()
		if err != nil {
			return netip.Addr{}, err
		}
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			if err == nil && prefix.Addr().IsGlobalUnicast() && prefix.Addr().Is4() == (family == "ip4") {
				return prefix.Addr(), nil
			}
		}
	}
	return netip.Addr{}, nil
}

func replaceAddress(ctx context.Context, before, after netip.Addr) error {
	for _, pattern := range kubeadmFiles {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			changed := replaceWholeAddress(content, before.String(), after.String())
			if bytes.Equal(changed, content) {
				continue
			}
			if err := os.WriteFile(file, changed, 0o600); err != nil {
				return err
			}
		}
	}
	return reissueServerCertificate(ctx)
}

// replaceWholeAddress leaves an address alone that merely begins or ends with
// the old one, as 172.18.0.21 does with 172.18.0.2.
func replaceWholeAddress(content []byte, before, after string) []byte {
	var out bytes.Buffer
	partOfAddress := func(b byte) bool {
		return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b == '.'
	}
	for {
		at := bytes.Index(content, []byte(before))
		if at < 0 {
			out.Write(content)
			return out.Bytes()
		}
		end := at + len(before)
		whole := (at == 0 || !partOfAddress(content[at-1])) && (end == len(content) || !partOfAddress(content[end]))
		out.Write(content[:at])
		if whole {
			out.WriteString(after)
		} else {
			out.WriteString(before)
		}
		content = content[end:]
	}
}

// reissueServerCertificate makes the API server's certificate name the new
// address, where kubeadm and its certificate authority are at hand.
func reissueServerCertificate(ctx context.Context) error {
	const config, certificate = "/kind/kubeadm.conf", "/etc/kubernetes/pki/apiserver.crt"
	for _, file := range []string{config, certificate} {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	for _, file := range []string{certificate, "/etc/kubernetes/pki/apiserver.key"} {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	output, err := exec.CommandContext(ctx, "kubeadm", "init", "phase", "certs", "apiserver", "--config", config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kubeadm init phase certs apiserver: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}
