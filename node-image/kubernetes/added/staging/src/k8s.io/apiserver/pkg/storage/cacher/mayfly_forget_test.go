package cacher

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// changed is a watch cache that has seen a change of one pod at each of some revisions.
func changed(t *testing.T, revisions ...int) *watchCache {
	t.Helper()
	key := func(object runtime.Object) (string, error) { return storage.NamespaceKeyFunc("/pods/", object) }
	attributes := func(runtime.Object) (labels.Set, fields.Set, error) { return nil, nil, nil }
	now := func(context.Context) (uint64, error) { return 0, nil }
	w := newWatchCache(key, nil, attributes, storage.APIObjectVersioner{}, &cache.Indexers{}, clock.RealClock{},
		75*time.Second, schema.GroupResource{Resource: "pods"}, nil, now)
	if err := w.Replace(nil, "1"); err != nil {
		t.Fatal(err)
	}
	for _, revision := range revisions {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web", ResourceVersion: fmt.Sprint(revision),
		}}
		if err := w.Update(pod); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// since are the revisions of all changes that came after one.
func since(t *testing.T, w *watchCache, revision uint64) ([]uint64, error) {
	t.Helper()
	w.RLock()
	interval, err := w.getAllEventsSinceLocked(revision, "", storage.ListOptions{Predicate: storage.Everything})
	w.RUnlock()
	if err != nil {
		return nil, err
	}
	seen := []uint64{}
	for {
		event, err := interval.Next()
		if err != nil {
			return nil, err
		}
		if event == nil {
			return seen, nil
		}
		seen = append(seen, event.ResourceVersion)
	}
}

func TestChangesThatEtcdForgotAreForgotten(t *testing.T) {
	for _, test := range []struct {
		name      string
		forgotten uint64
		from      uint64
		seen      []uint64
		expired   bool
		kept      int
	}{
		{name: "before all of them", forgotten: 9, from: 1, seen: []uint64{10, 20, 30}, kept: 3},
		{name: "from the revision itself", forgotten: 20, from: 20, seen: []uint64{30}, kept: 2},
		{name: "from between two changes", forgotten: 25, from: 25, seen: []uint64{30}, kept: 2},
		{name: "from before the revision", forgotten: 20, from: 10, expired: true, kept: 2},
		{name: "from the last change of all", forgotten: 99, from: 30, seen: []uint64{}, kept: 1},
		{name: "from later than any", forgotten: 99, from: 40, seen: []uint64{}, kept: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := changed(t, 10, 20, 30)
			w.forget(test.forgotten)
			seen, err := since(t, w, test.from)
			if errors.IsResourceExpired(err) != test.expired || (err != nil && !test.expired) {
				t.Fatalf("watching on from %d: %v", test.from, err)
			}
			if !slices.Equal(seen, test.seen) {
				t.Errorf("watching on from %d shows %v", test.from, seen)
			}
			held := 0
			for _, event := range w.events().cache {
				if event != nil {
					held++
				}
			}
			if held != test.kept {
				t.Errorf("%d changes are held", held)
			}
		})
	}
}

func TestForgettingTwiceAndGoingOn(t *testing.T) {
	w := changed(t, 10, 20, 30)
	w.forget(99)
	w.forget(99)
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", ResourceVersion: "100"}}
	if err := w.Update(pod); err != nil {
		t.Fatal(err)
	}
	if seen, err := since(t, w, 99); err != nil || !slices.Equal(seen, []uint64{100}) {
		t.Errorf("watching on from 99 shows %v, with %v", seen, err)
	}
}

// compactedStore is a store whose etcd has forgotten what was before a revision.
type compactedStore struct {
	storage.Interface
	revision int64
}

func (s compactedStore) CompactRevision() int64 { return s.revision }

func TestWhatEtcdForgetsReachesTheHistory(t *testing.T) {
	w := changed(t, 10, 20, 30)
	newCompactor(compactedStore{revision: 20}, w, clock.RealClock{}).compactIfNeeded()
	if _, err := since(t, w, 10); !errors.IsResourceExpired(err) {
		t.Errorf("watching on from 10: %v", err)
	}
}
