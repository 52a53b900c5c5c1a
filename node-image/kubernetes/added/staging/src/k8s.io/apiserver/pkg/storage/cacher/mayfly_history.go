// Package cacher is a part of the API server's package of that name: the build of
// the node image puts this file beside those of the watch cache, which are made to
// use it (src/node-image/kubernetes-changes.ts).
//
// For each type the API server keeps the latest events in a ring, for watches that
// go on from where they were. It grows until it holds what they are promised,
// events of 75 seconds, and then keeps as many as it has room for, of whatever age.
// A suite makes and ends hundreds of objects: with one suite after the other, most
// of an API server's memory was taken by events that nobody can count on.
package cacher

import "time"

// removeOld takes events from before a time out of a ring, but for the latest of
// them: of the types that seldom change, watches find as much as ever.
func removeOld(ring []*watchCacheEvent, start *int, end int, before time.Time) (removed bool) {
	for end-*start > defaultLowerBoundCapacity {
		oldest := *start % len(ring)
		if !ring[oldest].RecordTime.Before(before) {
			break
		}
		ring[oldest] = nil
		*start++
		removed = true
	}
	return removed
}
