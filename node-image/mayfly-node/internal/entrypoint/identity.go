package entrypoint

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The paths are kind's, so that what users mount or read there is found.
const (
	productName = "/kind/product_name"
	productUUID = "/kind/product_uuid"
)

// setMachineIdentity gives each node a machine id and a product UUID of its
// own. Clusters rely on them being different: storage drivers, for instance,
// tell nodes apart by them. A restarted node keeps what it has.
func setMachineIdentity(context.Context) error {
	if id, err := os.ReadFile("/etc/machine-id"); err != nil || len(strings.TrimSpace(string(id))) != 32 {
		if err := os.WriteFile("/etc/machine-id", []byte(randomHex(16)+"\n"), 0o444); err != nil {
			return err
		}
	}
	if _, err := os.Stat(productUUID); errors.Is(err, fs.ErrNotExist) {
		h := randomHex(16)
		uuid := fmt.Sprintf("%s-%s-%s-%s-%s\n", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
		if err := os.MkdirAll("/kind", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(productUUID, []byte(uuid), 0o444); err != nil {
			return err
		}
		if err := os.WriteFile(productName, []byte("mayfly\n"), 0o444); err != nil {
			return err
		}
	}
	for file, target := range map[string][]string{
		productName: {"/sys/class/dmi/id/product_name"},
		productUUID: {"/sys/class/dmi/id/product_uuid", "/sys/devices/virtual/dmi/id/product_uuid"},
	} {
		for _, path := range target {
			// Machines without DMI, such as many arm64 ones, have no such file.
			if _, err := os.Stat(path); err != nil {
				continue
			}
			if err := mounted(unix.Mount(file, path, "", unix.MS_BIND, ""), path); err != nil {
				return err
			}
		}
	}
	return nil
}

func randomHex(bytes int) string {
	raw := make([]byte, bytes)
	rand.Read(raw) // never fails, by its documentation
	return hex.EncodeToString(raw)
}

// proxyVariables are passed on in both spellings, as programs differ.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

// passProxyOn gives the container's proxy settings to containerd and the
// kubelet, which systemd starts with an environment of its own.
func passProxyOn(context.Context) error {
	var settings []string
	for _, name := range proxyVariables {
		if value := os.Getenv(name); value != "" {
			settings = append(settings, fmt.Sprintf("%q", name+"="+value))
		}
	}
	if len(settings) == 0 {
		return nil
	}
	const dir = "/etc/systemd/system.conf.d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	content := "[Manager]\nDefaultEnvironment=" + strings.Join(settings, " ") + "\n"
	return os.WriteFile(dir+"/proxy.conf", []byte(content), 0o644)
}
