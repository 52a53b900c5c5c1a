// Package patch is a part of the API server's package of that name: the build of
// the node image puts this file beside typeconverter.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// Policies that mutate objects need descriptions of their types. To know when one
// changes, the API server asks itself for the digests of all of them every five
// seconds from its start on, and so has every built-in type described while a
// cluster boots. Here it does so from the first object on that a policy applies
// to, which in most clusters for tests never comes.
package patch

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	lookEvery = 10 * time.Millisecond
	// The request that a policy applies to waits no longer for the first answer. Without
	// one it is told that the type is not known, as upstream tells those that come too early.
	lookFor = 5 * time.Second
)

// asked tells when the first description is wanted. The zero value is ready for use.
type asked struct {
	made, told sync.Once
	channel    chan struct{}
}

func (a *asked) first() chan struct{} {
	a.made.Do(func() { a.channel = make(chan struct{}) })
	return a.channel
}

// isWanted waits for somebody who wants a description; false once nobody can.
func (a *asked) isWanted(ctx context.Context) bool {
	select {
	case <-a.first():
		return true
	case <-ctx.Done():
		return false
	}
}

// describe has the digests asked for from now on, and waits for the first answer.
func (t *typeConverterManager) describe() {
	t.told.Do(func() {
		close(t.first())
		_ = wait.PollUntilContextTimeout(context.Background(), lookEvery, lookFor, true, func(context.Context) (bool, error) {
			t.lock.RLock()
			defer t.lock.RUnlock()
			return len(t.lastFetchedPaths) > 0, nil
		})
	})
}
