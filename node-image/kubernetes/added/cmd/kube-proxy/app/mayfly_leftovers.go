// Package app is a part of kube-proxy's package of that name: the build of the node
// image puts this file beside options.go, which is made to use it
// (src/node-image/kubernetes-changes.ts).
//
// Before it does anything else kube-proxy removes what it may have left behind when
// it last ran in another mode. On a new node there is nothing, and to find that out
// it starts nft a dozen times, while the cluster waits for its Services. Here
// it does so once it has started. A proxy that uses nftables removes what iptables
// has at once, as ever.
package app

import (
	"context"
	"time"

	kubeproxyconfig "k8s.io/kubernetes/pkg/proxy/apis/config"
)

const leftoversRemovedAfter = 10 * time.Second

// removeLeftovers is platformCleanup, which a proxy that uses iptables and is to go on running does later.
func removeLeftovers(ctx context.Context, mode kubeproxyconfig.ProxyMode, cleanupAndExit bool) error {
	if cleanupAndExit || !isIPTablesBased(mode) {
		return platformCleanup(ctx, mode, cleanupAndExit)
	}
	time.AfterFunc(leftoversRemovedAfter, func() { _ = platformCleanup(ctx, mode, cleanupAndExit) })
	return nil
}
