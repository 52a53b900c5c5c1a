// Package cacher is a part of Kubernetes' package of that name: the build of the
// node image puts this file beside compactor.go (src/node-image/kubernetes-changes.ts).
//
// The API server keeps the changes of the last 75 seconds, decoded, for watches
// that go on from an older version. A roll-back has etcd forget what was before
// the one that came before it, and writes so where API servers look for it. Here
// they forget the same: after a suite nobody watches on from the time of another.
package cacher

// forget drops changes up to a revision that etcd has forgotten. The last of them
// stays: it tells where the history begins, and whoever has seen the revision
// itself can still go on from there.
func (w *watchCache) forget(revision uint64) {
	w.Lock()
	defer w.Unlock()
	events := w.events()
	for next := events.startIndex + 1; next < events.endIndex; next++ {
		if events.cache[next%events.capacity].ResourceVersion > revision {
			return
		}
		events.cache[events.startIndex%events.capacity] = nil
		events.startIndex = next
		events.removedEventSinceRelist = true
	}
}
