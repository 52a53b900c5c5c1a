package etcdstate

import (
	"path/filepath"
	"testing"

	"go.etcd.io/etcd/pkg/v3/traceutil"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"net/url"
	"time"
)

// What is restored has to be what a real etcd serves from that directory.
func TestRestoredKeysAreServed(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "data")
	member := Member{Name: "one", PeerURL: "http://127.0.0.1:0", InitialCluster: "one=http://127.0.0.1:0", Token: "t"}
	entries := []Entry{{Key: "/registry/a", Value: []byte("1")}, {Key: "/registry/b", Value: []byte{0, 255}}}
	if err := Restore(dataDir, member, entries); err != nil {
		t.Fatal(err)
	}
	config := embed.NewConfig()
	config.Name, config.Dir, config.InitialCluster, config.InitialClusterToken = member.Name, dataDir, member.InitialCluster, member.Token
	config.LogLevel = "error"
	anyPort := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.AdvertiseClientUrls = anyPort, anyPort
	config.ListenPeerUrls, config.AdvertisePeerUrls = anyPort, anyPort
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(20 * time.Second):
		t.Fatal("etcd is not ready after 20 s")
	}
	read := etcd.Server.KV().Read(mvcc.ConcurrentReadTxMode, traceutil.TODO())
	defer read.End()
	for _, want := range entries {
		got, err := read.Range(t.Context(), []byte(want.Key), nil, mvcc.RangeOptions{})
		if err != nil || len(got.KVs) != 1 || string(got.KVs[0].Value) != string(want.Value) {
			t.Errorf("%s: got %v, %v; want %q", want.Key, got, err, want.Value)
		}
	}
}
