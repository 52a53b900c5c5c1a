// Package aggregator is a part of kube-aggregator's package of that name: the
// build of the node image puts this file beside aggregator.go, which is made to
// use it (src/node-image/kubernetes-changes.ts).
//
// Before it serves, the API server writes all of its types down in OpenAPI's
// version 3, of which it then tells the digests. Here it does so for the first who
// asks, which in most clusters for tests is nobody.
package aggregator

import (
	"sync/atomic"

	"k8s.io/klog/v2"
)

// asked tells whether anybody has asked for the description of built-in types.
type asked struct{ atomic.Bool }

// waitsForSomebody holds for what has not been asked for yet.
func (a *asked) waitsForSomebody(apiServiceName string) bool {
	return IsLocalAPIService(apiServiceName) && !a.Load()
}

// describe catches up with what was left out before somebody asked.
func (s *specProxier) describe() {
	if s.Load() {
		return
	}
	s.rwMutex.Lock()
	defer s.rwMutex.Unlock()
	for name := range s.apiServiceInfo {
		if !s.waitsForSomebody(name) {
			continue
		}
		if err := s.updateAPIServiceSpecLocked(name); err != nil {
			klog.ErrorS(err, "OpenAPI v3 of built-in types", "apiService", name)
		}
	}
	s.Store(true)
}
