package entrypoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mayfly.io/node-image/mayfly-node/internal/etcdstate"
	"mayfly.io/node-image/mayfly-node/internal/network"
	"mayfly.io/node-image/mayfly-node/internal/staticpods"
)

// nodeDocument says what this node is to become. Whoever creates the container
// puts it there before it starts; without it the node waits for kubeadm.
const nodeDocument = "/mayfly/node.json"

const etcdDataDir = "/var/lib/etcd"

// node is the schema of the document; src/boot/node-document.ts has its twin.
type node struct {
	// Base is the folder of the snapshot to restore.
	Base string `json:"base"`
	// Files are those below the snapshot's files/ to take over. Values has
	// what stands in them for what.
	Files  []string          `json:"files"`
	Values map[string]string `json:"values"`
	// PodCIDRs are the pod subnets of this node, one a family; none when
	// the cluster brings a network of its own.
	PodCIDRs []string `json:"podCIDRs"`
	// Routes lead to the pods of the other nodes.
	Routes     []route    `json:"routes"`
	APIService apiService `json:"apiService"`
	// Hosts are names with another address than the engine gives them.
	Hosts map[string]string `json:"hosts"`
	// Etcd is set on control-plane nodes.
	Etcd *etcdstate.Member `json:"etcd"`
	// Objects are written over the snapshot's, or beside them.
	Objects []object `json:"objects"`
	// Omit lists patterns of the snapshot's keys to leave out, in the syntax
	// of path.Match.
	Omit []string `json:"omit"`
	// Pods are made of the snapshot's templates.
	Pods []pod `json:"pods"`
}

// pod is one of a snapshot's pod templates, with a value for each placeholder.
type pod struct {
	Template string            `json:"template"`
	Key      string            `json:"key"`
	Values   map[string]string `json:"values"`
}

type object struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// RestoreState makes of a fresh node what its document says. A node that was
// stopped and started again has its state, and keeps it.
func RestoreState(context.Context) error {
	wanted, err := readNodeDocument()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	done := nodeDocument + ".done"
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	for _, name := range wanted.Files {
		if err := restoreFile(wanted, name); err != nil {
			return err
		}
	}
	if len(wanted.PodCIDRs) > 0 {
		if err := network.WriteCNIConfig(wanted.PodCIDRs); err != nil {
			return err
		}
	}
	if wanted.Etcd != nil {
		if err := restoreEtcd(wanted); err != nil {
			return err
		}
		if err := staticpods.Place(filepath.Join(wanted.Base, "static-pods.json"), wanted.Values); err != nil {
			return err
		}
	}
	return os.WriteFile(done, nil, 0o644)
}

func readNodeDocument() (node, error) {
	raw, err := os.ReadFile(nodeDocument)
	if err != nil {
		return node{}, err
	}
	var wanted node
	if err := json.Unmarshal(raw, &wanted); err != nil {
		return node{}, fmt.Errorf("%s: %w", nodeDocument, err)
	}
	return wanted, nil
}

func restoreFile(wanted node, name string) error {
	content, err := os.ReadFile(filepath.Join(wanted.Base, "files", name))
	if err != nil {
		return err
	}
	text := replaceAll(string(content), wanted.Values)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o600)
}

func replaceAll(text string, values map[string]string) string {
	for placeholder, value := range values {
		text = strings.ReplaceAll(text, placeholder, value)
	}
	return text
}

func (n node) omits(key string) bool {
	return slices.ContainsFunc(n.Omit, func(pattern string) bool {
		matched, _ := path.Match(pattern, key)
		return matched
	})
}

func restoreEtcd(wanted node) error {
	saved, err := os.Open(filepath.Join(wanted.Base, "etcd.jsonl.gz"))
	if err != nil {
		return err
	}
	defer saved.Close()
	replaced := map[string]bool{}
	var entries []etcdstate.Entry
	for _, o := range wanted.Objects {
		replaced[o.Key] = true
		entries = append(entries, etcdstate.Entry{Key: o.Key, Value: o.Value})
	}
	for _, p := range wanted.Pods {
		text, err := os.ReadFile(filepath.Join(wanted.Base, "pods", p.Template+".json"))
		if err != nil {
			return err
		}
		entries = append(entries, etcdstate.Entry{Key: p.Key, Value: []byte(replaceAll(string(text), p.Values))})
	}
	err = etcdstate.Read(saved, func(entry etcdstate.Entry) error {
		if replaced[entry.Key] || wanted.omits(entry.Key) {
			return nil
		}
		fresh, err := withFreshUID(entry, wanted.Etcd.Token)
		entries = append(entries, fresh)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", saved.Name(), err)
	}
	return etcdstate.Restore(etcdDataDir, *wanted.Etcd, entries)
}
