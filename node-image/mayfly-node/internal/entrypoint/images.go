package entrypoint

import (
	"context"
	"os"
	"strings"

	"mayfly.io/node-image/mayfly-node/internal/images"
)

const (
	bakedStore     = "/usr/share/mayfly/containerd"
	containerdRoot = "/var/lib/containerd"
)

// installImages puts the core images into containerd's store. They are unpacked
// in the node image already, so only the store's small databases are copied.
func installImages(context.Context) error {
	if _, err := os.Stat(containerdRoot + "/io.containerd.metadata.v1.bolt/meta.db"); err == nil {
		return nil // a restarted node has them, and images that were loaded since
	}
	if _, err := os.Stat(bakedStore); err != nil {
		return nil
	}
	// Each layer with iptables comes in both flavours, which differ in links only. Nobody
	// asks for the legacy one's digest: it stands under that of the other.
	return images.Install(bakedStore, containerdRoot, func(dir string) string {
		return strings.Replace(dir, "/iptables-nft", "/iptables-"+string(chosen), 1)
	})
}
