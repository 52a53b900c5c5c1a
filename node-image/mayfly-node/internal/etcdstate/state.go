// Package etcdstate saves the state of a control plane as plain keys and values
// and gives it to a new one, before its etcd ever runs.
package etcdstate

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"
)

// Entry is one key of etcd. A saved state is a gzip stream of entries, each a
// line of JSON; the value is in base64, as encoding/json writes bytes.
type Entry struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

// Member is this node's place in an etcd cluster.
type Member struct {
	Name           string `json:"name"`
	PeerURL        string `json:"peerURL"`
	InitialCluster string `json:"initialCluster"`
	Token          string `json:"token"`
}

// Read calls visit for every entry of a saved state, in order.
func Read(saved io.Reader, visit func(Entry) error) error {
	unpacked, err := gzip.NewReader(saved)
	if err != nil {
		return err
	}
	entries := json.NewDecoder(bufio.NewReader(unpacked))
	for {
		var entry Entry
		switch err := entries.Decode(&entry); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := visit(entry); err != nil {
			return err
		}
	}
}

// Restore makes the data directory of a member whose keys are the given
// entries. Every member of a cluster is made from the same entries: they agree
// from the start, so none has to wait for another to copy them.
func Restore(dataDir string, member Member, entries []Entry) error {
	scratch, err := os.MkdirTemp(filepath.Dir(dataDir), "restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	database := filepath.Join(scratch, "db")
	writeDatabase(database, entries)
	err = snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath:        database,
		Name:                member.Name,
		OutputDataDir:       dataDir,
		PeerURLs:            []string{member.PeerURL},
		InitialCluster:      member.InitialCluster,
		InitialClusterToken: member.Token,
		SkipHashCheck:       true,
	})
	if err != nil {
		return fmt.Errorf("make etcd's data directory %s: %w", dataDir, err)
	}
	return nil
}

func writeDatabase(path string, entries []Entry) {
	config := backend.DefaultBackendConfig(zap.NewNop())
	config.Path = path
	config.UnsafeNoFsync = true
	db := backend.New(config)
	defer db.Close()
	schema.NewMembershipBackend(zap.NewNop(), db).MustCreateBackendBuckets()
	tx := db.BatchTx()
	tx.Lock()
	schema.UnsafeCreateMetaBucket(tx)
	tx.Unlock()
	store := mvcc.NewStore(zap.NewNop(), db, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer store.Close()
	write := store.Write(traceutil.TODO())
	for _, entry := range entries {
		write.Put([]byte(entry.Key), entry.Value, lease.NoLease)
	}
	write.End()
	store.Commit()
}
