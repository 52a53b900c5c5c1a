package cacher

import (
	"testing"
	"time"
)

func TestRemoveOldKeepsWhatWatchesArePromised(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name              string
		old, recent, kept int
	}{
		{"a few old ones", 90, 0, 90},
		{"many old ones", 250, 0, defaultLowerBoundCapacity},
		{"old and recent ones", 100, 140, 140},
		{"more old ones than recent ones", 140, 20, defaultLowerBoundCapacity},
		{"recent ones alone", 0, 250, 250},
	} {
		// As a ring is after some time: it does not begin where its array does.
		const first = 1000
		ring := make([]*watchCacheEvent, 256)
		start, end := first, first+c.old+c.recent
		for at := start; at < end; at++ {
			recorded := now
			if at < first+c.old {
				recorded = now.Add(-time.Hour)
			}
			ring[at%len(ring)] = &watchCacheEvent{ResourceVersion: uint64(at), RecordTime: recorded}
		}
		removed := removeOld(ring, &start, end, now.Add(-time.Minute))
		if kept := end - start; kept != c.kept || removed != (kept < c.old+c.recent) {
			t.Errorf("%s: %d are kept, %t", c.name, kept, removed)
		}
		held := 0
		for _, event := range ring {
			if event != nil {
				held++
			}
		}
		if held != c.kept || ring[start%len(ring)].ResourceVersion != uint64(start) {
			t.Errorf("%s: the ring has %d events", c.name, held)
		}
	}
}
