package entrypoint

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	hostsFile = "/etc/hosts"
	// podHostsFiles are the kubelet's copies for pods in the node's own network.
	podHostsFiles = "/var/lib/kubelet/pods/*/etc-hosts"
)

// nameHosts gives names the addresses that they got since the engine made this
// container: it writes the file anew at each start.
func nameHosts(context.Context) error {
	wanted, err := readNodeDocument()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return setHosts(hostsFile, wanted.Hosts)
}

// RunMoveControlPlane makes this node reach its control plane elsewhere, now and
// after each start: `control-plane-at -host NAME -address IP -endpoint IP:PORT`.
func RunMoveControlPlane(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("control-plane-at", flag.ContinueOnError)
	host := flags.String("host", "", "name by which nodes know the control plane")
	address := flags.String("address", "", "its address")
	endpoint := flags.String("endpoint", "", "address and port of its API server")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *host == "" || *address == "" || *endpoint == "" {
		return errors.New("-host, -address and -endpoint are needed")
	}
	hosts := map[string]string{*host: *address}
	if err := changeNodeDocument(nodeDocument, hosts, *endpoint); err != nil {
		return err
	}
	files, err := filepath.Glob(podHostsFiles)
	if err != nil {
		return err
	}
	for _, file := range append(files, hostsFile) {
		if err := setHosts(file, hosts); err != nil {
			return err
		}
	}
	return nil
}

// changeNodeDocument leaves all else in the document as it is.
func changeNodeDocument(path string, hosts map[string]string, endpoint string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(raw, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var service apiService
	if err := json.Unmarshal(document["apiService"], &service); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	service.Endpoint = endpoint
	for field, value := range map[string]any{"hosts": hosts, "apiService": service} {
		if document[field], err = json.Marshal(value); err != nil {
			return err
		}
	}
	changed, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(path, changed, 0o600)
}

// setHosts replaces what a file says of these names alone. The file is written
// in place, for it is mounted by itself. One that names none of them is left alone: the kubelet
// writes others for pods with a network of their own.
func setHosts(path string, hosts map[string]string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(content), "\n")
	for i, line := range lines {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		at := slices.IndexFunc(fields[1:], func(name string) bool { return hosts[name] != "" })
		if at >= 0 {
			lines[i] = hosts[fields[1+at]] + "\t" + strings.Join(fields[1:], " ") + "\n"
		}
	}
	changed := strings.Join(lines, "")
	if changed == string(content) {
		return nil
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}
