// Package prober is a part of the kubelet's package of that name: the build of
// the node image puts this file beside worker.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
package prober

import (
	"time"

	"k8s.io/kubernetes/pkg/kubelet/prober/results"
)

// soon is how long a container that was never ready waits for its next probe.
// No period is shorter.
const soon = 100 * time.Millisecond

// scheduleNext sets when a worker probes next. The kubelet asks whether a
// container is ready as soon as it runs, which is before it can be, and then not
// again for a period: ten seconds by default, for which a suite that waits for
// its pods stands still. So a container that was never ready is asked again soon.
// From its first success on, and for several of them where that many are wanted
// in a row, the period holds. Liveness and startup are left as they are: their
// failures are counted.
func (w *worker) scheduleNext(ticker *time.Ticker, period time.Duration) {
	if w.probeType != readiness {
		return
	}
	if w.lastResult == results.Success {
		w.onceReady = w.containerID
	}
	isAtPeriod := !w.containerID.IsEmpty() && w.onceReady == w.containerID
	if !isAtPeriod {
		ticker.Reset(soon)
	} else if !w.isAtPeriod {
		ticker.Reset(period)
	}
	w.isAtPeriod = isAtPeriod
}
