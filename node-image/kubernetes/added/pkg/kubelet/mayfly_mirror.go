// Package kubelet is a part of Kubernetes' package of that name: the build of the
// node image puts this file beside kubelet.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// Where several control planes start at the same time, one refuses what it does
// not know of yet: a node, a priority class. The kubelet offers a static pod's
// mirror again when it next looks after the pod, 10 to 20 seconds later. Here it
// does so at once.
package kubelet

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	offerMirrorEvery = 100 * time.Millisecond
	offerMirrorFor   = 10 * time.Second
)

// offerMirrorAgain creates a static pod's mirror that was refused, unless the pod goes or gets its mirror meanwhile: it may
// have been refused because it was there already, and not yet known here.
func (kl *Kubelet) offerMirrorAgain(ctx context.Context, staticPod *v1.Pod) {
	ctx = context.WithoutCancel(ctx)
	go func() {
		_ = wait.PollUntilContextTimeout(ctx, offerMirrorEvery, offerMirrorFor, false, func(ctx context.Context) (bool, error) {
			if _, isThere := kl.podManager.GetPodByUID(staticPod.UID); !isThere {
				return true, nil
			}
			if _, hasMirror := kl.podManager.GetMirrorPodByPod(staticPod); hasMirror {
				return true, nil
			}
			return kl.mirrorPodClient.CreateMirrorPod(ctx, staticPod) == nil, nil
		})
	}()
}
