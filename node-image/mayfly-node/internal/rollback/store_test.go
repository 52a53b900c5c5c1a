package rollback

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestForgottenVersionsTakeNoRoom(t *testing.T) {
	etcd := startEtcd(t)
	etcd.set(t, map[string][]byte{root + "kept": []byte("first"), root + "gone": []byte("first")})
	before, err := etcd.client.Get(t.Context(), root+"kept")
	if err != nil {
		t.Fatal(err)
	}
	filling := bytes.Repeat([]byte("x"), 1<<20)
	for at := range 40 {
		etcd.set(t, map[string][]byte{fmt.Sprintf("%sfilling/%d", root, at): filling})
	}
	if _, err := etcd.client.Delete(t.Context(), root+"filling/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	etcd.set(t, map[string][]byte{root + "kept": []byte("second")})
	// What the second one forgets while somebody reads is unused room to the third.
	for _, rollback := range []string{"first", "second", "third"} {
		if err := etcd.forgetLast(t.Context()); err != nil {
			t.Fatalf("after the %s roll-back: %v", rollback, err)
		}
	}
	if _, err := etcd.client.Get(t.Context(), root, clientv3.WithRev(before.Header.Revision)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("an old version is read, with %v", err)
	}
	told, err := etcd.client.Get(t.Context(), compacted)
	if err != nil || len(told.Kvs) != 1 {
		t.Fatalf("API servers are told %v, %v", told, err)
	}
	revision, err := strconv.ParseInt(string(told.Kvs[0].Value), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.client.Get(t.Context(), root, clientv3.WithRev(revision)); err != nil {
		t.Errorf("API servers are told of %d: %v", revision, err)
	}
	if _, err := etcd.client.Get(t.Context(), root, clientv3.WithRev(revision-1)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("API servers are told of %d, and before it was read: %v", revision, err)
	}
	status, err := etcd.client.Status(t.Context(), etcd.client.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	if status.DbSize > 1<<20 {
		t.Errorf("etcd's file takes %d bytes", status.DbSize)
	}
	if kept := etcd.get(t); len(kept) != 2 || string(kept[root+"kept"]) != "second" {
		t.Errorf("etcd has %v", kept)
	}
}
